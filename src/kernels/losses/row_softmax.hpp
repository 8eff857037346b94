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
// Columns are computed in blocks, all of a block by equal instructions, so that no bit depends
// on where in a row a column stands.
#pragma once
#include "base/shard.hpp"
#include "kernels/rows/row_loops.hpp"
#include "kernels/rows/vector_exp.hpp"

namespace elastic::kernels {

using RowTeam = Kokkos::TeamPolicy<ExecutionSpace>::member_type;

/// Columns that one thread treats at a time: one on a device, so that neighbours read neighbours.
constexpr index_t column_block = on_host ? 16 : 1;
/// Chains of each class; classes may lie on ranks of their own. A power of two.
constexpr index_t chains_of_class = on_host ? column_block : 128;
constexpr index_t most_chains = sum_classes * chains_of_class;

/// The chains on one rank.
inline index_t num_chains(const Shard& shard) {
  return math::max(1, sum_classes / shard.size) * chains_of_class;
}
/// One team per row, with scratch for the chains of `sums` sums.
template <class T>
Kokkos::TeamPolicy<ExecutionSpace> row_policy(const ExecutionSpace& exec, index_t rows,
                                              index_t sums) {
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, static_cast<int>(rows), Kokkos::AUTO);
  const auto bytes =
      static_cast<int>(sums * most_chains * static_cast<index_t>(sizeof(Accumulate<T>)));
  policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 64));
  return policy;
}
template <class T>
KOKKOS_INLINE_FUNCTION T* row_of(const View2<T>& matrix, index_t i) {
  return matrix.data() + i * leading_dimension(matrix);
}

/// Columns v .. v + column_block of a row; zeros past its end.
template <class T>
struct ColumnBlock {
  T padded[column_block];
  const T* values;

  KOKKOS_INLINE_FUNCTION ColumnBlock(const T* row, index_t v, index_t columns) : values(row + v) {
    if (v + column_block <= columns) return;
    for (index_t l = 0; l < column_block; ++l) padded[l] = v + l < columns ? row[v + l] : T(0);
    values = padded;
  }
};
/// Calls body(v, count, block...) for all columns, with the blocks of the given rows;
/// `count` <= column_block of a block's columns exist. A host's thread takes all blocks; thread j
/// of a device takes j, j + step, ...
template <class F, class... T>
KOKKOS_INLINE_FUNCTION void for_column_blocks(const RowTeam& team, index_t step, index_t columns,
                                              const F& body, const T*... row) {
  const index_t stride = on_host ? column_block : step;
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, on_host ? 1 : step), [&](index_t first) {
    for (index_t v = first; v < columns; v += stride)
      body(v, static_cast<int>(math::min(column_block, columns - v)),
           ColumnBlock<T>(row, v, columns).values...);
  });
  team.team_barrier();
}

/// target_v = f(row_v...) for all columns; the target may be one of the rows.
template <class F, class U, class... T>
KOKKOS_INLINE_FUNCTION void transform_columns(const RowTeam& team, index_t columns, const F& f,
                                              U* target, const T*... row) {
  const auto body = [&](index_t v, int count, const T*... z) {
    U padded[column_block];
    const bool whole = count == static_cast<int>(column_block);
    U* const value = whole ? target + v : padded;
    ELASTIC_SIMD
    for (int l = 0; l < static_cast<int>(column_block); ++l) store_rounded(value[l], f(z[l]...));
    if (whole) return;
    for (int l = 0; l < count; ++l) target[v + l] = padded[l];
  };
  for_column_blocks(team, team.team_size(), columns, body, row...);
}
template <class T>
KOKKOS_INLINE_FUNCTION void zero_row(const RowTeam& team, T* z, index_t columns) {
  transform_columns(
      team, columns, [](T) { return Accumulate<T>(0); }, z, z);
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

  /// term(sum, counts, row_v...) adds a column's term of sum k to sum[k * most_chains]; the term is
  /// zero if `counts` is false (padding). Every thread may read the sums on return.
  template <class Term, class... Row>
  KOKKOS_INLINE_FUNCTION void add_up(const RowTeam& team, index_t columns, const Term& term,
                                     const Row*... row) const {
    for_chains(team, m_chains, [&](index_t j, T* sum) { sum[j] = 0; });
    T* const sum = m_sum;
    const index_t mask = m_chains - 1;
    const auto body = [&](index_t v, int n, const Row*... z) {
      T* const block = sum + (v & mask);
      ELASTIC_SIMD
      for (int l = 0; l < static_cast<int>(column_block); ++l) term(block + l, l < n, z[l]...);
    };
    for_column_blocks(team, m_chains, columns, body, row...);
    for (index_t half = m_chains / 2; half > 0; half /= 2)
      for_chains(team, half, [&](index_t j, T* sums) { sums[j] += sums[j + half]; });
  }
  KOKKOS_INLINE_FUNCTION T operator[](int k) const { return m_sum[k * most_chains]; }

 private:
  /// Calls f(j, chains of a sum) for the first `chains` of every sum.
  template <class F>
  KOKKOS_INLINE_FUNCTION void for_chains(const RowTeam& team, index_t chains, const F& f) const {
    const index_t length = on_host ? chains : 1;
    T* const sum = m_sum;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, chains / length), [&](index_t first) {
      for (int k = 0; k < count; ++k) {
        ELASTIC_SIMD
        for (index_t j = first; j < first + length; ++j) f(j, sum + k * most_chains);
      }
    });
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
  constexpr index_t stripe = on_host ? 2048 : 1;
  A maximum = 0;
  Kokkos::parallel_reduce(
      Kokkos::TeamThreadRange(team, (columns + stripe - 1) / stripe),
      [&](index_t i, A& best) {
        const index_t end = math::min(columns, (i + 1) * stripe);
        A part = best;
        ELASTIC_SIMD_MAX(part)
        for (index_t v = i * stripe; v < end; ++v) part = part < widen(z[v]) ? widen(z[v]) : part;
        best = part;
      },
      Kokkos::Max<A>(maximum));
  return maximum;
}

/// The normalisation of one row. Maximum and log_sum are kept apart,
/// so that large logits lose nothing.
template <class T>
struct RowSoftmax {
  T scale;  ///< 1 / tau
  T maximum, log_sum;

  KOKKOS_INLINE_FUNCTION T log_probability(T z) const { return (z - maximum) * scale - log_sum; }
  KOKKOS_INLINE_FUNCTION T probability(T z) const { return vector_exp(log_probability(z)); }
};

}  // namespace elastic::kernels
