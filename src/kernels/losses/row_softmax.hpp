// SPDX-License-Identifier: Apache-2.0
// Softmax of one row of logits, shared by the losses: one team per row. The columns may be sharded
// over ranks (base/shard.hpp), which then add up the sums of each.
//
//   log p_v = (z_v - max) / tau - log_sum
//   log_sum = log sum_v exp((z_v - max) / tau)
//
// A sum over columns is formed in chains: column v belongs to chain v mod `chains`, and chains are
// joined by a tree, p_j += p_{j + chains/2} first. Each of t ranks has 1/t of the chains and its
// own levels of the tree. The sum has equal bits on 1, 2, 4 and 8 ranks if the levels that are
// left pair ranks in this way too.
//
// On a host columns are computed in blocks, all of a block by equal instructions, so that no bit
// depends on where in a row a column stands. On a device 128 lanes have packs of columns
// (kernels/rows/pack.hpp); for a sum, each the same 8/t chains of t ranks, in registers.
#pragma once
#include "base/shard.hpp"
#include "kernels/losses/row_blocks.hpp"
#include "kernels/losses/softmax_exp.hpp"
#include "kernels/rows/pack.hpp"

namespace elastic::kernels {

using RowTeam = Team;

/// Chains of each class; classes may lie on ranks of their own. A power of two. On a device these
/// are the lanes of a team.
constexpr index_t chains_of_class = on_host ? chain_block : 128;
constexpr index_t most_chains = sum_classes * chains_of_class;
constexpr int softmax_threads = static_cast<int>(chains_of_class) / device_lanes;
/// How far apart the sums of one column stand that a term adds to.
constexpr index_t sum_distance = on_host ? most_chains : sum_classes;

/// The chains on one rank.
inline index_t num_chains(const Shard& shard) {
  return math::max(1, sum_classes / shard.size) * chains_of_class;
}
/// One team per row, with scratch for the chains of `sums` sums.
template <class T>
TeamPolicy row_policy(const ExecutionSpace& exec, index_t rows, index_t sums) {
  TeamPolicy policy = on_host ? TeamPolicy(exec, static_cast<int>(rows), Kokkos::AUTO)
                              : device_teams(exec, rows, softmax_threads);
  const auto bytes =
      static_cast<int>(sums * most_chains * static_cast<index_t>(sizeof(Accumulate<T>)));
  policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 64));
  return policy;
}
template <class T>
KOKKOS_INLINE_FUNCTION T* row_of(const View2<T>& matrix, index_t i) {
  return matrix.data() + i * leading_dimension(matrix);
}

/// Whether packs of a row begin at multiples of 16 bytes.
template <class T>
KOKKOS_INLINE_FUNCTION bool is_aligned(const T* row) {
  return reinterpret_cast<std::uintptr_t>(row) % 16 == 0;
}
/// target_i = f(z_i...) for one pack.
template <class F, class U, class... T>
KOKKOS_INLINE_FUNCTION void transform_pack(const F& f, U* target, int count, bool aligned,
                                           const StoredPack<T>&... z) {
  Pack<Accumulate<U>> result;
  for (int i = 0; i < pack_size; ++i) result[i] = f(widen(z.value[i])...);
  store_pack(target, result, count, aligned);
}
/// target_v = f(row_v...) for all columns, of widened values; the target may be one of the rows.
template <class F, class U, class... T>
KOKKOS_INLINE_FUNCTION void transform_columns(const RowTeam& team, index_t columns, const F& f,
                                              U* target, const T*... row) {
  if constexpr (on_host) {
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, 1),
                         [&](int) { transform_blocks(columns, f, target, row...); });
    team.team_barrier();
  } else {
    const bool aligned = is_aligned(target) && (is_aligned(row) && ...);
    for_row_packs(team, columns, [&](index_t v, int count) {
      transform_pack(f, target + v, count, aligned, load_stored(row + v, count, aligned)...);
    });
    team.team_barrier();
  }
}
template <class T>
KOKKOS_INLINE_FUNCTION void zero_row(const RowTeam& team, T* z, index_t columns) {
  transform_columns(
      team, columns, [](Accumulate<T>) { return Accumulate<T>(0); }, z, z);
}

/// Forms `count` sums over the columns of one row.
template <class T, int count>
class ColumnSums {
 public:
  /// Takes the scratch of row_policy<T>(.., count).
  KOKKOS_INLINE_FUNCTION ColumnSums(const RowTeam& team, index_t chains)
      : m_sum(static_cast<T*>(
            team.team_scratch(0).get_shmem_aligned(count * most_chains * sizeof(T), 64))),
        m_chains(chains) {}

  /// term(sum, counts, row_v...) adds a column's term of sum k, of widened values, to
  /// sum[k * sum_distance]; the term is zero if `counts` is false (padding). Every thread may read
  /// the sums on return.
  template <class Term, class... Row>
  KOKKOS_INLINE_FUNCTION void add_up(const RowTeam& team, index_t columns, const Term& term,
                                     const Row*... row) const {
    if constexpr (on_host)
      add_blocks(team, columns, term, row...);
    else if (m_chains == 8 * chains_of_class)
      add_lanes<8>(team, columns, term, row...);
    else if (m_chains == 4 * chains_of_class)
      add_lanes<4>(team, columns, term, row...);
    else if (m_chains == 2 * chains_of_class)
      add_lanes<2>(team, columns, term, row...);
    else
      add_lanes<1>(team, columns, term, row...);
    for (index_t half = m_chains / 2; half > 0; half /= 2)
      for_chains(team, half, [&](index_t j, T* sums) { sums[j] += sums[j + half]; });
  }
  KOKKOS_INLINE_FUNCTION T operator[](int k) const { return m_sum[k * most_chains]; }

 private:
  static_assert(sum_classes == 8 && sum_classes == pack_size);

  /// The chains on a host: one thread walks the row.
  template <class Term, class... Row>
  KOKKOS_INLINE_FUNCTION void add_blocks(const RowTeam& team, index_t columns, const Term& term,
                                         const Row*... row) const {
    for_chains(team, m_chains, [&](index_t j, T* sum) { sum[j] = 0; });
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, 1),
                         [&](int) { add_chains(columns, term, m_sum, m_chains - 1, row...); });
    team.team_barrier();
  }
  /// The chains on a device: a lane has `own` neighbours.
  template <int own, class Term, class... Row>
  KOKKOS_INLINE_FUNCTION void add_lanes(const RowTeam& team, index_t columns, const Term& term,
                                        const Row*... row) const {
    const bool aligned = own == pack_size && (is_aligned(row) && ...);
    Kokkos::parallel_for(
        Kokkos::TeamVectorRange(team, static_cast<int>(chains_of_class)), [&](const int lane) {
          T sum[count * sum_distance] = {};
          for (index_t v = lane * own; v < columns; v += own * chains_of_class)
            add_pack<own>(term, static_cast<int>(math::min<index_t>(own, columns - v)), sum,
                          load_stored<own>(row + v, columns - v, aligned)...);
          for (int k = 0; k < count; ++k)
            for (int i = 0; i < own; ++i)
              m_sum[k * most_chains + lane * own + i] = sum[k * sum_distance + i];
        });
    team.team_barrier();
  }
  template <int own, class Term, class... Row>
  KOKKOS_INLINE_FUNCTION static void add_pack(const Term& term, int n, T* sum,
                                              const StoredPack<Row>&... z) {
    for (int i = 0; i < own; ++i) term(sum + i, i < n, widen(z.value[i])...);
  }
  /// Calls f(j, chains of a sum) for the first `chains` of every sum.
  template <class F>
  KOKKOS_INLINE_FUNCTION void for_chains(const RowTeam& team, index_t chains, const F& f) const {
    T* const sum = m_sum;
    if constexpr (on_host) {
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, 1), [&](int) {
        for (int k = 0; k < count; ++k) {
          ELASTIC_SIMD
          for (index_t j = 0; j < chains; ++j) f(j, sum + k * most_chains);
        }
      });
    } else {
      Kokkos::parallel_for(Kokkos::TeamVectorRange(team, chains), [&](const index_t j) {
        for (int k = 0; k < count; ++k) f(j, sum + k * most_chains);
      });
    }
    team.team_barrier();
  }

  T* m_sum;
  index_t m_chains;
};

/// The largest of the columns; of none, the lowest number.
/// NaN is passed over here and shows up in the sums.
template <class T>
KOKKOS_INLINE_FUNCTION Accumulate<T> row_maximum(const RowTeam& team, const T* z, index_t columns) {
  using A = Accumulate<T>;
  A maximum = 0;
  if constexpr (on_host) {
    constexpr index_t stripe = 2048;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, (columns + stripe - 1) / stripe),
        [&](index_t i, A& best) {
          const index_t begin = i * stripe;
          const A part = largest_of(z + begin, math::min(stripe, columns - begin), best);
          best = part;
        },
        Kokkos::Max<A>(maximum));
  } else {
    const bool aligned = is_aligned(z);
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, num_packs(columns)),
        [&](index_t p, A& best) {
          const int n = static_cast<int>(math::min<index_t>(pack_size, columns - p * pack_size));
          const Pack<A> part = load_pack(z + p * pack_size, n, aligned);
          for (int i = 0; i < pack_size; ++i) best = i < n && best < part[i] ? part[i] : best;
        },
        Kokkos::Max<A>(maximum));
  }
  return maximum;
}

/// The normalisation of one row. Maximum and log_sum are kept apart,
/// so that large logits lose nothing.
template <class T>
struct RowSoftmax {
  T scale;  ///< 1 / tau
  T maximum, log_sum;

  KOKKOS_INLINE_FUNCTION T log_probability(T z) const { return (z - maximum) * scale - log_sum; }
  KOKKOS_INLINE_FUNCTION T probability(T z) const { return softmax_exp<T>(log_probability(z)); }
};

}  // namespace elastic::kernels
