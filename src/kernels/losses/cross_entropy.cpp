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
template <class T>
constexpr T nan = std::numeric_limits<T>::quiet_NaN();
/// Sums of a row: that of the exponentials, and the logit of the target.
template <class T>
struct RowSums {
  T exponentials, target;
};

template <class T>
KOKKOS_INLINE_FUNCTION RowSums<Accumulate<T>> sum_row(const RowTeam& team, const T* s,
                                                      index_t columns, const Target& target,
                                                      Accumulate<T> maximum, index_t chains) {
  using A = Accumulate<T>;
  const A logit = target.exists ? widen(s[target.column]) : target.mine ? nan<A> : A(0);
  const ColumnSums<A, 1> sums(team, chains);
  sums.add_up(
      team, columns,
      [=](A* sum, bool counts, A z) {
        const A e = softmax_exp<T>(z - maximum);
        *sum += counts ? e : A(0);
      },
      s);
  return {sums[0], logit};
}

/// Loss and gradient of rows, once the sums of all ranks are known.
template <class T>
struct Finish {
  using A = Accumulate<T>;
  View1<const float> weight;
  bool gradient;
  A factor;
  View2<T> logits;
  View1<A> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team, index_t t, const Target& target,
                                         A maximum, const RowSums<A>& sums) const {
    const A w = weight(t), step = factor * w;
    const RowSoftmax<A> softmax{A(1), maximum, math::log(sums.exponentials)};
    Kokkos::single(Kokkos::PerTeam(team),
                   [&]() { row_loss(t) = -w * softmax.log_probability(sums.target); });
    if (!gradient) return;
    T* const s = row_of(logits, t);
    const A share = step / sums.exponentials;
    transform_columns(
        team, static_cast<index_t>(logits.extent(1)),
        [=](A z) {
          if constexpr (std::is_same_v<T, A>)
            return step * softmax.probability(z);
          else
            return share * softmax_exp<T>(z - maximum);
        },
        s, s);
    if (!target.exists) return;
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      T& at_target = s[target.column];
      if constexpr (std::is_same_v<T, A>)
        at_target -= step;
      else  // once more from the logit, so that the difference is rounded once
        at_target = static_cast<T>(step * (softmax.probability(sums.target) - A(1)));
    });
  }
  /// Writes a row that does not count.
  KOKKOS_INLINE_FUNCTION void clear(const RowTeam& team, index_t t) const {
    Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
    if (gradient) zero_row(team, row_of(logits, t), static_cast<index_t>(logits.extent(1)));
  }
};

template <class T>
void require_rows(const char* function, const CrossEntropyRows& rows,
                  const View2<const T>& logits) {
  const auto tokens = static_cast<index_t>(logits.extent(0));
  require_shape(function, "targets", rows.targets, tokens);
  require_shape(function, "weight", rows.weight, tokens);
}
}  // namespace

template <class T>
void cross_entropy(const ExecutionSpace& exec, const CrossEntropyRows& rows, bool gradient,
                   Accumulate<T> factor, InOut2<T> logits, InOut1<Accumulate<T>> row_loss) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  require_rows<T>("cross_entropy", rows, logits);
  require_shape("cross_entropy", "row_loss", row_loss, tokens);
  if (tokens == 0) return;
  const Finish<T> finish{rows.weight, gradient, factor, logits, row_loss};
  const index_t chains = num_chains({});
  Kokkos::parallel_for(
      "elastic::cross_entropy", row_policy<T>(exec, tokens, 1), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (rows.weight(t) == 0) return finish.clear(team, t);
        const T* const s = row_of(logits, t);
        const Target target(rows.targets(t), {}, V);
        const Accumulate<T> maximum = row_maximum(team, s, V);
        finish(team, t, target, maximum, sum_row<T>(team, s, V, target, maximum, chains));
      });
}

template <class T>
void cross_entropy_maxima(const ExecutionSpace& exec, const CrossEntropyRows& rows, In2<T> logits,
                          InOut1<Accumulate<T>> maximum) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  require_rows<T>("cross_entropy_maxima", rows, logits);
  require_shape("cross_entropy_maxima", "maximum", maximum, tokens);
  if (tokens == 0) return;
  Kokkos::parallel_for(
      "elastic::cross_entropy_maxima", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const Accumulate<T> largest =
            rows.weight(t) == 0 ? Accumulate<T>(0) : row_maximum(team, row_of(logits, t), V);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { maximum(t) = largest; });
      });
}

template <class T>
void cross_entropy_sums(const ExecutionSpace& exec, const CrossEntropyRows& rows, In2<T> logits,
                        In1<Accumulate<T>> maximum, InOut2<Accumulate<T>> sums) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_sums";
  require_rows<T>(name, rows, logits);
  require_shape(name, "maximum", maximum, tokens);
  require_shape(name, "sums", sums, tokens, 2);
  if (tokens == 0) return;
  const index_t chains = num_chains(rows.shard);
  Kokkos::parallel_for(
      "elastic::cross_entropy_sums", row_policy<T>(exec, tokens, 1),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowSums<Accumulate<T>> row = {0, 0};
        if (rows.weight(t) != 0)
          row = sum_row<T>(team, row_of(logits, t), V, Target(rows.targets(t), rows.shard, V),
                           maximum(t), chains);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = row.exponentials;
          sums(t, 1) = row.target;
        });
      });
}

template <class T>
void cross_entropy_finish(const ExecutionSpace& exec, const CrossEntropyRows& rows,
                          In1<Accumulate<T>> maximum, In2<Accumulate<T>> sums, bool gradient,
                          Accumulate<T> factor, InOut2<T> logits, InOut1<Accumulate<T>> row_loss) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1));
  const char* name = "cross_entropy_finish";
  require_rows<T>(name, rows, logits);
  require_shape(name, "row_loss", row_loss, tokens);
  require_shape(name, "maximum", maximum, tokens);
  require_shape(name, "sums", sums, tokens, 2);
  if (tokens == 0) return;
  const Finish<T> finish{rows.weight, gradient, factor, logits, row_loss};
  Kokkos::parallel_for(
      "elastic::cross_entropy_finish", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (rows.weight(t) == 0) return finish.clear(team, t);
        finish(team, t, Target(rows.targets(t), rows.shard, V), maximum(t),
               {sums(t, 0), sums(t, 1)});
      });
}

#define ELASTIC_INSTANTIATE(T)                                                                  \
  template void cross_entropy<T>(const ExecutionSpace&, const CrossEntropyRows&, bool,          \
                                 Accumulate<T>, InOut2<T>, InOut1<Accumulate<T>>);              \
  template void cross_entropy_maxima<T>(const ExecutionSpace&, const CrossEntropyRows&, In2<T>, \
                                        InOut1<Accumulate<T>>);                                 \
  template void cross_entropy_sums<T>(const ExecutionSpace&, const CrossEntropyRows&, In2<T>,   \
                                      In1<Accumulate<T>>, InOut2<Accumulate<T>>);               \
  template void cross_entropy_finish<T>(const ExecutionSpace&, const CrossEntropyRows&,         \
                                        In1<Accumulate<T>>, In2<Accumulate<T>>, bool,           \
                                        Accumulate<T>, InOut2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
