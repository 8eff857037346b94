// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits: maximum, sum and gradient of a row while it is in cache.
#include "kernels/cross_entropy.hpp"

#include "base/shapes.hpp"
#include "kernels/row_softmax.hpp"

#include <limits>

namespace elastic::kernels {

template <class S>
void cross_entropy(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                   bool gradient, std::type_identity_t<S> factor, InOut2<S> logits,
                   InOut1<S> row_loss) {
  const auto T = static_cast<index_t>(logits.extent(0)), V = static_cast<index_t>(logits.extent(1));
  require_shape("cross_entropy", "targets", targets, T);
  require_shape("cross_entropy", "weight", weight, T);
  require_shape("cross_entropy", "row_loss", row_loss, T);
  if (T == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy", Kokkos::TeamPolicy<ExecutionSpace>(exec, T, Kokkos::AUTO),
      KOKKOS_LAMBDA(const RowTeam& team) {
        constexpr S nan = std::numeric_limits<S>::quiet_NaN();
        const index_t t = team.league_rank();
        const S w = weight(t);
        S* const s = &logits(t, 0);
        if (w == S(0)) {
          Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
          if (gradient) zero_row(team, s, V);
          return;
        }
        const index_t target = targets(t);
        const bool known = target >= 0 && target < V;
        const RowSoftmax<S> softmax(team, s, V, S(1));
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          row_loss(t) = known ? -w * softmax.log_probability(s[target]) : nan;
        });
        if (!gradient) return;
        team.team_barrier();  // the loss has read its logit
        const S step = factor * w;
        for_stripes(team, V, [&](index_t begin, index_t end) {
          ELASTIC_SIMD
          for (index_t v = begin; v < end; ++v)
            s[v] = step * vector_exp(softmax.log_probability(s[v]));
          if (target >= begin && target < end) s[target] -= step;
        });
      });
}

#define ELASTIC_INSTANTIATE(S)                                                          \
  template void cross_entropy<S>(const ExecutionSpace&, In1<token_t>, In1<float>, bool, \
                                 std::type_identity_t<S>, InOut2<S>, InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)

}  // namespace elastic::kernels
