// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/adamw_step.hpp"

#include <cmath>

#include "kernels/whole_vectors.hpp"
#include "kernels/read_ahead.hpp"
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// Where an update stops: the weight itself, or the value that is its rounding.
template <class T>
struct NotRounded {
  KOKKOS_INLINE_FUNCTION void operator()(index_t, T) const {}
};
template <class T>
struct RoundedInto {
  T* value;
  KOKKOS_INLINE_FUNCTION void operator()(index_t i, Accumulate<T> weight) const {
    store_rounded(value[i], weight);
  }
};
/// One element of the buffers; its coefficients are those of a step.
template <class T, class Finish>
struct Element {
  const T* gradient;
  T *weight, *m, *v;
  T grad_scale, epsilon, b1, one_minus_b1, b2, one_minus_b2, step_size, root_correction, decay;
  Finish finish;

  KOKKOS_INLINE_FUNCTION void operator()(index_t i) const {
    const T g = grad_scale * gradient[i];
    m[i] = b1 * m[i] + one_minus_b1 * g;
    v[i] = b2 * v[i] + one_minus_b2 * g * g;
    weight[i] =
        decay * weight[i] - step_size * m[i] / (math::sqrt(v[i]) * root_correction + epsilon);
    finish(i, weight[i]);
  }
};

/// A run of elements on a host. Stores that pass by the caches would save nothing: all lines that
/// are written are read as well, but for the values of 16 bits.
template <class T, class Finish>
ELASTIC_WHOLE_VECTORS void update_run(const Element<T, Finish>& element, index_t begin,
                                      index_t end) {
  constexpr index_t block = 32, bytes = block * static_cast<index_t>(sizeof(T));
  const Element<T, Finish> update = element;
  for (; begin + block <= end; begin += block) {
    read_ahead(update.gradient + begin, bytes);
    read_ahead(update.weight + begin, bytes);
    read_ahead(update.m + begin, bytes);
    read_ahead(update.v + begin, bytes);
    ELASTIC_SIMD
    for (index_t i = 0; i < block; ++i) update(begin + i);
  }
  ELASTIC_SIMD
  for (index_t i = begin; i < end; ++i) update(i);
}

template <class T, class Finish>
void update(const ExecutionSpace& exec, const View1<const T>& gradient, const AdamWParams& params,
            const View1<T>& weight, const View1<T>& m, const View1<T>& v, const Finish& finish) {
  const auto n = static_cast<index_t>(weight.extent(0));
  require_shape("adamw_step", "gradient", gradient, n);
  require_shape("adamw_step", "m", m, n);
  require_shape("adamw_step", "v", v, n);
  ELASTIC_REQUIRE(params.step >= 1, "adamw_step: step is {}", params.step);
  const auto t = static_cast<double>(params.step);
  const Element<T, Finish> element{
      gradient.data(),
      weight.data(),
      m.data(),
      v.data(),
      static_cast<T>(params.grad_scale),
      static_cast<T>(params.epsilon),
      static_cast<T>(params.beta1),
      static_cast<T>(1 - params.beta1),
      static_cast<T>(params.beta2),
      static_cast<T>(1 - params.beta2),
      static_cast<T>(params.learning_rate / (1 - std::pow(params.beta1, t))),
      static_cast<T>(1 / std::sqrt(1 - std::pow(params.beta2, t))),
      static_cast<T>(1 - params.learning_rate * params.weight_decay),
      finish};
  for_column_pieces(
      exec, "elastic::adamw_step", n, KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        const Element<T, Finish> update = element;
        if constexpr (on_host)
          update_run(update, begin, end);
        else
          for (index_t i = begin; i < end; ++i) update(i);
      });
}

}  // namespace

template <class T>
void adamw_step(const ExecutionSpace& exec, In1<T> gradient, const AdamWParams& params,
                InOut1<T> weight, InOut1<T> m, InOut1<T> v) {
  update<T>(exec, gradient, params, weight, m, v, NotRounded<T>());
}

template <class T>
void adamw_step_rounded(const ExecutionSpace& exec, In1<Accumulate<T>> gradient,
                        const AdamWParams& params, InOut1<Accumulate<T>> master,
                        InOut1<Accumulate<T>> m, InOut1<Accumulate<T>> v, InOut1<T> value) {
  require_shape("adamw_step_rounded", "value", value, static_cast<index_t>(master.extent(0)));
  update<Accumulate<T>>(exec, gradient, params, master, m, v, RoundedInto<T>{value.data()});
}

template void adamw_step<float>(const ExecutionSpace&, In1<float>, const AdamWParams&,
                                InOut1<float>, InOut1<float>, InOut1<float>);
template void adamw_step<double>(const ExecutionSpace&, In1<double>, const AdamWParams&,
                                 InOut1<double>, InOut1<double>, InOut1<double>);
template void adamw_step_rounded<bfloat16>(const ExecutionSpace&, In1<float>, const AdamWParams&,
                                           InOut1<float>, InOut1<float>, InOut1<float>,
                                           InOut1<bfloat16>);

}  // namespace elastic::kernels
