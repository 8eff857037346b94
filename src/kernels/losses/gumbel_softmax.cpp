// SPDX-License-Identifier: Apache-2.0
#include "kernels/losses/gumbel_softmax.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

void require_params(const char* function, const GumbelSoftmaxParams& params) {
  ELASTIC_REQUIRE(params.tau > 0, "{}: tau is {}", function, params.tau);
}

}  // namespace

template <class T>
void gumbel_softmax_forward(const ExecutionSpace& exec, In2<T> z, const GumbelSoftmaxParams& params,
                            InOut2<T> pi) {
  const auto rows = static_cast<index_t>(z.extent(0)), choices = static_cast<index_t>(z.extent(1));
  require_shape("gumbel_softmax_forward", "pi", pi, rows, choices);
  require_params("gumbel_softmax_forward", params);
  // Kernels take plain values: the members of params that they need.
  const double scale = params.logit_scale, inverse_tau = 1 / params.tau;
  const bool noise = params.noise;
  const RandomKey key = params.key;
  Kokkos::parallel_for(
      "elastic::gumbel_softmax_forward", LinearPolicy(exec, 0, rows),
      KOKKOS_LAMBDA(const index_t row) {
        using A = Accumulate<T>;
        const auto logit = [&](index_t i) {
          const auto index = static_cast<std::uint64_t>(row * choices + i);
          const double g = noise ? -math::log(-math::log(random_uniform(key, index))) : 0.0;
          return static_cast<A>((scale * static_cast<double>(z(row, i)) + g) * inverse_tau);
        };
        A maximum = logit(0), sum = 0;
        for (index_t i = 0; i < choices; ++i) maximum = math::max(maximum, logit(i));
        for (index_t i = 0; i < choices; ++i) sum += math::exp(logit(i) - maximum);
        for (index_t i = 0; i < choices; ++i)
          pi(row, i) = static_cast<T>(math::exp(logit(i) - maximum) / sum);
      });
}

template <class T>
void gumbel_softmax_backward(const ExecutionSpace& exec, In2<T> dpi, In2<T> pi,
                             const GumbelSoftmaxParams& params, InOut2<T> dz) {
  const auto rows = static_cast<index_t>(pi.extent(0)),
             choices = static_cast<index_t>(pi.extent(1));
  require_shape("gumbel_softmax_backward", "dpi", dpi, rows, choices);
  require_shape("gumbel_softmax_backward", "dz", dz, rows, choices);
  require_params("gumbel_softmax_backward", params);
  using A = Accumulate<T>;
  const A factor = static_cast<A>(params.logit_scale / params.tau);
  Kokkos::parallel_for(
      "elastic::gumbel_softmax_backward", LinearPolicy(exec, 0, rows),
      KOKKOS_LAMBDA(const index_t row) {
        A mean = 0;
        for (index_t i = 0; i < choices; ++i) mean += widen(dpi(row, i)) * widen(pi(row, i));
        for (index_t i = 0; i < choices; ++i)
          dz(row, i) = static_cast<T>(widen(dz(row, i)) +
                                      factor * widen(pi(row, i)) * (widen(dpi(row, i)) - mean));
      });
}

#define ELASTIC_INSTANTIATE(T)                                                    \
  template void gumbel_softmax_forward<T>(const ExecutionSpace&, In2<T>,          \
                                          const GumbelSoftmaxParams&, InOut2<T>); \
  template void gumbel_softmax_backward<T>(const ExecutionSpace&, In2<T>, In2<T>, \
                                           const GumbelSoftmaxParams&, InOut2<T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
