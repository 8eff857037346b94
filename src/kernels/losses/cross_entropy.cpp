// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits: maximum, sum and gradient of a row while it
// is in cache, or one after the other.
#include "kernels/losses/cross_entropy.hpp"

#include "kernels/losses/row_softmax.hpp"

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
/// Sums of a row: that of the exponentials, and the logit of the target.
template <class T>
struct RowSums {
  T exponentials, target;
};

template <class T>
KOKKOS_INLINE_FUNCTION RowSums<T> sum_row(const RowTeam& team, const T* s, index_t columns,
                                          const Target& target, T maximum, index_t chains) {
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  const T logit = target.exists ? s[target.column] : target.mine ? nan : T(0);
  const ColumnSums<T, 1> sums(team, chains);
  sums.add_up(
      team, columns,
      [=](T* sum, bool counts, T z) {
        const T e = vector_exp(z - maximum);
        *sum += counts ? e : T(0);
      },
      s);
  return {sums[0], logit};
}

/// Loss and gradient of rows, once the sums of all ranks are known.
template <class T>
struct Finish {
  View1<const float> weight;
  bool gradient;
  T factor;
  View2<T> logits;
  View1<T> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team, index_t t, const Target& target,
                                         T maximum, const RowSums<T>& sums) const {
    const T w = weight(t), step = factor * w;
    const RowSoftmax<T> softmax{T(1), maximum, math::log(sums.exponentials)};
    Kokkos::single(Kokkos::PerTeam(team),
                   [&]() { row_loss(t) = -w * softmax.log_probability(sums.target); });
    if (!gradient) return;
    T* const s = row_of(logits, t);
    transform_columns(
        team, static_cast<index_t>(logits.extent(1)),
        [=](T z) { return step * softmax.probability(z); }, s, s);
    if (target.exists) Kokkos::single(Kokkos::PerTeam(team), [&]() { s[target.column] -= step; });
  }
  /// Writes a row that does not count.
  KOKKOS_INLINE_FUNCTION void clear(const RowTeam& team, index_t t) const {
    Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
    if (gradient) zero_row(team, row_of(logits, t), static_cast<index_t>(logits.extent(1)));
  }
};

template <class T>
Finish<T> checked_finish(const char* function, const View1<const token_t>& targets,
                         const View1<const float>& weight, bool gradient, T factor,
                         const View2<T>& logits, const View1<T>& row_loss) {
  const auto tokens = static_cast<index_t>(logits.extent(0));
  require_shape(function, "targets", targets, tokens);
  require_shape(function, "weight", weight, tokens);
  require_shape(function, "row_loss", row_loss, tokens);
  return {weight, gradient, factor, logits, row_loss};
}
}  // namespace

template <class T>
void cross_entropy(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                   bool gradient, std::type_identity_t<T> factor, InOut2<T> logits,
                   InOut1<T> row_loss) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  const auto finish =
      checked_finish<T>("cross_entropy", targets, weight, gradient, factor, logits, row_loss);
  if (tokens == 0) return;
  const index_t chains = num_chains({});
  Kokkos::parallel_for(
      "elastic::cross_entropy", row_policy<T>(exec, tokens, 1), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        const T* const s = row_of(logits, t);
        const Target target(targets(t), {}, V);
        const T maximum = row_maximum(team, s, V);
        finish(team, t, target, maximum, sum_row<T>(team, s, V, target, maximum, chains));
      });
}

template <class T>
void cross_entropy_maxima(const ExecutionSpace& exec, In1<float> weight, In2<T> logits,
                          InOut1<T> maximum) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  require_shape("cross_entropy_maxima", "weight", weight, tokens);
  require_shape("cross_entropy_maxima", "maximum", maximum, tokens);
  if (tokens == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy_maxima", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const T largest = weight(t) == 0 ? T(0) : row_maximum(team, row_of(logits, t), V);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { maximum(t) = largest; });
      });
}

template <class T>
void cross_entropy_sums(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                        const Shard& shard, In2<T> logits, In1<T> maximum, InOut2<T> sums) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_sums";
  require_shape(name, "targets", targets, tokens);
  require_shape(name, "weight", weight, tokens);
  require_shape(name, "maximum", maximum, tokens);
  require_shape(name, "sums", sums, tokens, 2);
  if (tokens == 0) return;
  const index_t chains = num_chains(shard);
  Kokkos::parallel_for(
      "elastic::cross_entropy_sums", row_policy<T>(exec, tokens, 1),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowSums<T> row = {0, 0};
        if (weight(t) != 0)
          row = sum_row<T>(team, row_of(logits, t), V, Target(targets(t), shard, V), maximum(t),
                           chains);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = row.exponentials;
          sums(t, 1) = row.target;
        });
      });
}

template <class T>
void cross_entropy_finish(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                          const Shard& shard, In1<T> maximum, In2<T> sums, bool gradient,
                          std::type_identity_t<T> factor, InOut2<T> logits, InOut1<T> row_loss) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_finish";
  const auto finish = checked_finish<T>(name, targets, weight, gradient, factor, logits, row_loss);
  require_shape(name, "maximum", maximum, tokens);
  require_shape(name, "sums", sums, tokens, 2);
  if (tokens == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy_finish", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        finish(team, t, Target(targets(t), shard, V), maximum(t), {sums(t, 0), sums(t, 1)});
      });
}

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void cross_entropy<T>(const ExecutionSpace&, In1<token_t>, In1<float>, bool,        \
                                 std::type_identity_t<T>, InOut2<T>, InOut1<T>);               \
  template void cross_entropy_maxima<T>(const ExecutionSpace&, In1<float>, In2<T>, InOut1<T>); \
  template void cross_entropy_sums<T>(const ExecutionSpace&, In1<token_t>, In1<float>,         \
                                      const Shard&, In2<T>, In1<T>, InOut2<T>);                \
  template void cross_entropy_finish<T>(const ExecutionSpace&, In1<token_t>, In1<float>,       \
                                        const Shard&, In1<T>, In2<T>, bool,                    \
                                        std::type_identity_t<T>, InOut2<T>, InOut1<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
