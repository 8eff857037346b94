// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of logits: both softmaxes, loss and gradient of a row while it is in cache.
#include "kernels/kl_divergence.hpp"

#include "base/shapes.hpp"
#include "kernels/row_softmax.hpp"

namespace elastic::kernels {
namespace {

/// sum_v p_v (log p_v - log q_v) over [begin, end); with `gradient`, s_q = step (q - p).
template <bool gradient, class S>
KOKKOS_INLINE_FUNCTION S stripe(const S* s_p, S* s_q, index_t begin, index_t end,
                                const RowSoftmax<S> softmax_p, const RowSoftmax<S> softmax_q,
                                S step) {
  S sum = 0;
  ELASTIC_SIMD_SUM(sum)
  for (index_t v = begin; v < end; ++v) {
    const S log_p = softmax_p.log_probability(s_p[v]), log_q = softmax_q.log_probability(s_q[v]);
    const S p = vector_exp(log_p);
    sum += p * (log_p - log_q);
    if constexpr (gradient) s_q[v] = step * (vector_exp(log_q) - p);
  }
  return sum;
}

}  // namespace

template <class S>
void kl_divergence(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight,
                   double temperature, bool gradient, std::type_identity_t<S> factor,
                   InOut2<S> student, InOut1<S> row_loss) {
  const auto T = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  require_shape("kl_divergence", "teacher", teacher, T, V);
  require_shape("kl_divergence", "weight", weight, T);
  require_shape("kl_divergence", "row_loss", row_loss, T);
  ELASTIC_REQUIRE(temperature > 0, "temperature {}", temperature);
  if (T == 0) return;
  const S scale = static_cast<S>(1 / temperature);
  Kokkos::parallel_for(
      "elastic::kl_divergence", Kokkos::TeamPolicy<ExecutionSpace>(exec, T, Kokkos::AUTO),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const S w = weight(t);
        const S* const s_p = &teacher(t, 0);
        S* const s_q = &student(t, 0);
        if (w == S(0)) {
          Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
          if (gradient) zero_row(team, s_q, V);
          return;
        }
        const RowSoftmax<S> softmax_p(team, s_p, V, scale), softmax_q(team, s_q, V, scale);
        const S step = factor * w * scale;
        const S loss = sum_of_stripes<S>(team, V, [&](index_t begin, index_t end) {
          return gradient ? stripe<true>(s_p, s_q, begin, end, softmax_p, softmax_q, step)
                          : stripe<false>(s_p, s_q, begin, end, softmax_p, softmax_q, step);
        });
        Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = w * loss; });
      });
}

#define ELASTIC_INSTANTIATE(S)                                                            \
  template void kl_divergence<S>(const ExecutionSpace&, In2<S>, In1<float>, double, bool, \
                                 std::type_identity_t<S>, InOut2<S>, InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)

}  // namespace elastic::kernels
