// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits: maximum, sum and gradient of a row while it is in cache, or
// one after the other.
#include "kernels/cross_entropy.hpp"

#include "kernels/row_softmax.hpp"

#include <limits>

namespace elastic::kernels {
namespace {

/// Where the target of a row stands among the columns of a rank.
struct Target {
  index_t column;
  bool mine;    ///< this rank answers for it; words below zero are everybody's mistake
  bool exists;  ///< it is one of the columns

  KOKKOS_INLINE_FUNCTION Target(index_t word, const Shard& shard, index_t columns)
      : column(word / shard.size),
        mine(word < 0 || word % shard.size == shard.rank),
        exists(mine && word >= 0 && column < columns) {}
};
/// Of a row: the sum of the exponentials, and the logit of the target.
template <class S>
struct RowSums {
  S exponentials, target;
};

template <class S>
KOKKOS_INLINE_FUNCTION RowSums<S> sum_row(const RowTeam& team, const S* s, index_t columns,
                                          const Target& target, S maximum, index_t chains) {
  constexpr S nan = std::numeric_limits<S>::quiet_NaN();
  const S logit = target.exists ? s[target.column] : target.mine ? nan : S(0);
  const ColumnSums<S, 1> sums(team, chains);
  sums.add_up(
      team, columns,
      [=](S* sum, bool counts, S z) {
        const S e = vector_exp(z - maximum);
        *sum += counts ? e : S(0);
      },
      s);
  return {sums[0], logit};
}

/// Loss and gradient of rows, once the sums of all ranks are known.
template <class S>
struct Finish {
  View1<const float> weight;
  bool gradient;
  S factor;
  View2<S> logits;
  View1<S> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team, index_t t, const Target& target,
                                         S maximum, const RowSums<S>& sums) const {
    const S w = weight(t), step = factor * w;
    const RowSoftmax<S> softmax{S(1), maximum, math::log(sums.exponentials)};
    Kokkos::single(Kokkos::PerTeam(team),
                   [&]() { row_loss(t) = -w * softmax.log_probability(sums.target); });
    if (!gradient) return;
    S* const s = row_of(logits, t);
    transform_columns(
        team, static_cast<index_t>(logits.extent(1)),
        [=](S z) { return step * softmax.probability(z); }, s, s);
    if (target.exists) Kokkos::single(Kokkos::PerTeam(team), [&]() { s[target.column] -= step; });
  }
  /// Of a row that does not count.
  KOKKOS_INLINE_FUNCTION void clear(const RowTeam& team, index_t t) const {
    Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
    if (gradient) zero_row(team, row_of(logits, t), static_cast<index_t>(logits.extent(1)));
  }
};

template <class S>
Finish<S> checked_finish(const char* function, const View1<const token_t>& targets,
                         const View1<const float>& weight, bool gradient, S factor,
                         const View2<S>& logits, const View1<S>& row_loss) {
  const auto T = static_cast<index_t>(logits.extent(0));
  require_shape(function, "targets", targets, T);
  require_shape(function, "weight", weight, T);
  require_shape(function, "row_loss", row_loss, T);
  return {weight, gradient, factor, logits, row_loss};
}
}  // namespace

template <class S>
void cross_entropy(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                   bool gradient, std::type_identity_t<S> factor, InOut2<S> logits,
                   InOut1<S> row_loss) {
  const auto T = static_cast<index_t>(logits.extent(0)), V = static_cast<index_t>(logits.extent(1));
  const auto finish =
      checked_finish<S>("cross_entropy", targets, weight, gradient, factor, logits, row_loss);
  if (T == 0) return;
  const index_t chains = num_chains({});
  Kokkos::parallel_for(
      "elastic::cross_entropy", row_policy<S>(exec, T, 1), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        const S* const s = row_of(logits, t);
        const Target target(targets(t), {}, V);
        const S maximum = row_maximum(team, s, V);
        finish(team, t, target, maximum, sum_row<S>(team, s, V, target, maximum, chains));
      });
}

template <class S>
void cross_entropy_maxima(const ExecutionSpace& exec, In1<float> weight, In2<S> logits,
                          InOut1<S> maximum) {
  const auto T = static_cast<index_t>(logits.extent(0)), V = static_cast<index_t>(logits.extent(1));
  require_shape("cross_entropy_maxima", "weight", weight, T);
  require_shape("cross_entropy_maxima", "maximum", maximum, T);
  if (T == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy_maxima", row_policy<S>(exec, T, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const S largest = weight(t) == 0 ? S(0) : row_maximum(team, row_of(logits, t), V);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { maximum(t) = largest; });
      });
}

template <class S>
void cross_entropy_sums(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                        const Shard& shard, In2<S> logits, In1<S> maximum, InOut2<S> sums) {
  const auto T = static_cast<index_t>(logits.extent(0)), V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_sums";
  require_shape(name, "targets", targets, T);
  require_shape(name, "weight", weight, T);
  require_shape(name, "maximum", maximum, T);
  require_shape(name, "sums", sums, T, 2);
  if (T == 0) return;
  const index_t chains = num_chains(shard);
  Kokkos::parallel_for(
      "elastic::cross_entropy_sums", row_policy<S>(exec, T, 1), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowSums<S> row = {0, 0};
        if (weight(t) != 0)
          row = sum_row<S>(team, row_of(logits, t), V, Target(targets(t), shard, V), maximum(t),
                           chains);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = row.exponentials;
          sums(t, 1) = row.target;
        });
      });
}

template <class S>
void cross_entropy_finish(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                          const Shard& shard, In1<S> maximum, In2<S> sums, bool gradient,
                          std::type_identity_t<S> factor, InOut2<S> logits, InOut1<S> row_loss) {
  const auto T = static_cast<index_t>(logits.extent(0)), V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_finish";
  const auto finish = checked_finish<S>(name, targets, weight, gradient, factor, logits, row_loss);
  require_shape(name, "maximum", maximum, T);
  require_shape(name, "sums", sums, T, 2);
  if (T == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy_finish", row_policy<S>(exec, T, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        finish(team, t, Target(targets(t), shard, V), maximum(t), {sums(t, 0), sums(t, 1)});
      });
}

#define ELASTIC_INSTANTIATE(S)                                                                 \
  template void cross_entropy<S>(const ExecutionSpace&, In1<token_t>, In1<float>, bool,        \
                                 std::type_identity_t<S>, InOut2<S>, InOut1<S>);               \
  template void cross_entropy_maxima<S>(const ExecutionSpace&, In1<float>, In2<S>, InOut1<S>); \
  template void cross_entropy_sums<S>(const ExecutionSpace&, In1<token_t>, In1<float>,         \
                                      const Shard&, In2<S>, In1<S>, InOut2<S>);                \
  template void cross_entropy_finish<S>(const ExecutionSpace&, In1<token_t>, In1<float>,       \
                                        const Shard&, In1<S>, In2<S>, bool,                    \
                                        std::type_identity_t<S>, InOut2<S>, InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
