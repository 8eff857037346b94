// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/adamw_step.hpp"

#include <cmath>

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
    value[i] = static_cast<T>(weight);
  }
};

template <class T, class Finish>
void update(const ExecutionSpace& exec, const View1<const T>& gradient, const AdamWParams& params,
            const View1<T>& weight, const View1<T>& m, const View1<T>& v, const Finish& finish) {
  const auto n = static_cast<index_t>(weight.extent(0));
  require_shape("adamw_step", "gradient", gradient, n);
  require_shape("adamw_step", "m", m, n);
  require_shape("adamw_step", "v", v, n);
  ELASTIC_REQUIRE(params.step >= 1, "adamw_step: step is {}", params.step);
  const auto t = static_cast<double>(params.step);
  const T grad_scale = static_cast<T>(params.grad_scale), epsilon = static_cast<T>(params.epsilon);
  const T b1 = static_cast<T>(params.beta1), one_minus_b1 = static_cast<T>(1 - params.beta1);
  const T b2 = static_cast<T>(params.beta2), one_minus_b2 = static_cast<T>(1 - params.beta2);
  const T step_size = static_cast<T>(params.learning_rate / (1 - std::pow(params.beta1, t)));
  const T root_correction = static_cast<T>(1 / std::sqrt(1 - std::pow(params.beta2, t)));
  const T decay = static_cast<T>(1 - params.learning_rate * params.weight_decay);
  for_column_pieces(
      exec, "elastic::adamw_step", n, KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        const T* gradient_ = gradient.data();
        T *weight_ = weight.data(), *m_ = m.data(), *v_ = v.data();
        const Finish finish_ = finish;
        ELASTIC_SIMD
        for (index_t i = begin; i < end; ++i) {
          const T g = grad_scale * gradient_[i];
          m_[i] = b1 * m_[i] + one_minus_b1 * g;
          v_[i] = b2 * v_[i] + one_minus_b2 * g * g;
          weight_[i] = decay * weight_[i] -
                       step_size * m_[i] / (math::sqrt(v_[i]) * root_correction + epsilon);
          finish_(i, weight_[i]);
        }
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
