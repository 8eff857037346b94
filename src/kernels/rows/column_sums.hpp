// SPDX-License-Identifier: Apache-2.0
// Sums over the rows of a matrix on a device, without workspace: a team owns 16 columns. Its lanes
// walk every 256th row, and the 256 sums of a column are joined by a tree: the order depends on the
// number of rows only.
#pragma once
#include "kernels/rows/pack.hpp"

namespace elastic::kernels {

/// What a team of columns looks like: packs_across packs next to each other, row_strides rows.
struct ColumnTeam {
  static constexpr int packs_across = 2, row_strides = 256, columns = packs_across * pack_size,
                       threads = packs_across * row_strides / device_lanes;

  template <class A>
  KOKKOS_INLINE_FUNCTION static constexpr index_t scratch_bytes() {
    return static_cast<index_t>(sizeof(A)) * row_strides * columns;
  }
};

/// The sums of `columns` columns over each group of rows.
///
///   terms(t, j, count, sum)   adds the terms of columns [j, j + count) of row t to a Pack
///   into(j, sum)              takes the sum of column j over a group
template <class A, class Terms, class Into>
struct ColumnSumTeams {
  index_t rows, group_rows, columns;
  Terms terms;
  Into into;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    constexpr int strides = ColumnTeam::row_strides, width = ColumnTeam::columns;
    A* const part = static_cast<A*>(team.team_scratch(0).get_shmem_aligned(
        static_cast<std::size_t>(ColumnTeam::scratch_bytes<A>()), 64));
    const index_t first_column = static_cast<index_t>(team.league_rank()) * width;
    for (index_t begin = 0; begin < rows; begin += group_rows) {
      const index_t end = math::min(rows, begin + group_rows);
      Kokkos::parallel_for(
          Kokkos::TeamVectorRange(team, strides * ColumnTeam::packs_across), [&](const int i) {
            walk(begin + i / ColumnTeam::packs_across, end,
                 first_column + i % ColumnTeam::packs_across * pack_size, part + i * pack_size);
          });
      team.team_barrier();
      for (int half = strides / 2; half > 0; half /= 2) {
        Kokkos::parallel_for(Kokkos::TeamVectorRange(team, half * width),
                             [&](const int i) { part[i] += part[i + half * width]; });
        team.team_barrier();
      }
      Kokkos::parallel_for(Kokkos::TeamVectorRange(team, width), [&](const int i) {
        if (first_column + i < columns) into(first_column + i, part[i]);
      });
      team.team_barrier();  // the next group overwrites the sums
    }
  }

 private:
  /// The sums of every 256th row from `t` on.
  KOKKOS_INLINE_FUNCTION void walk(index_t t, index_t end, index_t column, A* sums) const {
    Pack<A> sum = {};
    const int count = static_cast<int>(math::min<index_t>(pack_size, columns - column));
    if (count > 0)
      for (; t < end; t += ColumnTeam::row_strides) terms(t, column, count, sum);
    for (int i = 0; i < pack_size; ++i) sums[i] = sum[i];
  }
};
template <class A, class Terms, class Into>
void for_column_sums(const ExecutionSpace& exec, const char* label,
                     const ColumnSumTeams<A, Terms, Into>& teams) {
  if (teams.columns == 0 || teams.rows == 0) return;
  auto policy = device_teams(exec, (teams.columns + ColumnTeam::columns - 1) / ColumnTeam::columns,
                             ColumnTeam::threads);
  policy.set_scratch_size(0,
                          Kokkos::PerTeam(static_cast<int>(ColumnTeam::scratch_bytes<A>() + 64)));
  Kokkos::parallel_for(label, policy, teams);
}

template <class A>
struct Unchanged {
  KOKKOS_INLINE_FUNCTION A operator()(A sum) const { return sum; }
};
template <class A, class Finish>
struct AddTo {
  View1<A> total;
  Finish finish;
  KOKKOS_INLINE_FUNCTION void operator()(index_t j, A sum) const { total(j) += finish(sum); }
};
/// total_j += finish(sum_{t in group} term_tj) for one group of `group_rows` rows after the other.
template <class A, class Terms, class Finish>
void add_column_sums(const ExecutionSpace& exec, const char* label, index_t rows,
                     index_t group_rows, const Terms& terms, const Finish& finish,
                     const View1<A>& total) {
  for_column_sums<A, Terms, AddTo<A, Finish>>(
      exec, label,
      {rows, group_rows, static_cast<index_t>(total.extent(0)), terms, {total, finish}});
}
/// total_j += sum_t term_tj.
template <class A, class Terms>
void add_column_sums(const ExecutionSpace& exec, const char* label, index_t rows,
                     const Terms& terms, const View1<A>& total) {
  add_column_sums<A>(exec, label, rows, math::max<index_t>(rows, 1), terms, Unchanged<A>{}, total);
}
/// total_j += sum_t term_tj. On a host terms(begin, end) adds columns [begin, end) of all rows.
template <class A, class Terms>
void sum_columns(const ExecutionSpace& exec, const char* label, index_t rows, const Terms& terms,
                 const View1<A>& total) {
  if constexpr (on_host)
    for_column_pieces(exec, label, static_cast<index_t>(total.extent(0)), terms);
  else
    add_column_sums<A>(exec, label, rows, terms, total);
}

}  // namespace elastic::kernels
