// SPDX-License-Identifier: Apache-2.0
// How the kernels that go over the rows or columns of a matrix share out their work:
// long vectorised runs on a host, single neighbouring elements on a device. The order of every sum
// is independent of the number of threads.
#pragma once
#include "base/shapes.hpp"
#include "kernels/backend.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {

/// The longest run of columns one work item handles: stays in the first cache.
inline constexpr index_t longest_piece = on_host ? 1024 : 1;
/// So many rows make a block, whose contributions to a sum over tokens are added up first.
inline constexpr index_t rows_per_block = 64;

inline index_t num_row_blocks(index_t rows) { return (rows + rows_per_block - 1) / rows_per_block; }

using LinearPolicy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;

/// Calls body(i, begin, end) for columns [begin, end) of row i, every element
/// once; whole rows on a host.
template <class F>
void for_row_pieces(const ExecutionSpace& exec, const char* label, index_t rows, index_t columns,
                    const F& body) {
  const index_t length = on_host ? math::max<index_t>(columns, 1) : 1;
  const index_t pieces = (columns + length - 1) / length;
  Kokkos::parallel_for(
      label, LinearPolicy(exec, 0, rows * pieces), KOKKOS_LAMBDA(const index_t piece) {
        const index_t begin = piece % pieces * length;
        body(piece / pieces, begin, math::min(columns, begin + length));
      });
}

/// Calls body(begin, end) for disjoint runs of [0, count):
/// few and long on a host, one element each on a device.
template <class F>
void for_column_pieces(const ExecutionSpace& exec, const char* label, index_t count,
                       const F& body) {
  const index_t share = (count + exec.concurrency() - 1) / exec.concurrency();
  const index_t length = math::min<index_t>((share + 15) / 16 * 16, longest_piece);
  if (count == 0) return;
  Kokkos::parallel_for(
      label, LinearPolicy(exec, 0, (count + length - 1) / length),
      KOKKOS_LAMBDA(const index_t piece) {
        body(piece * length, math::min(count, (piece + 1) * length));
      });
}

/// Calls body(i, scratch) for i < count, each with its own `size` elements of type A, not
/// initialised; without scratch (size 0, a null pointer) in a plain range.
template <class A, class F>
void for_each_with_scratch(const ExecutionSpace& exec, const char* label, index_t count,
                           index_t size, const F& body) {
  if (size == 0) {
    Kokkos::parallel_for(
        label, LinearPolicy(exec, 0, count),
        KOKKOS_LAMBDA(const index_t i) { body(i, static_cast<A*>(nullptr)); });
    return;
  }
  const index_t bytes = size * static_cast<index_t>(sizeof(A));
  const int level = scratch_level(bytes);
  TeamPolicy policy(exec, static_cast<int>(count), 1);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      label, policy, KOKKOS_LAMBDA(const Team& team) {
        body(static_cast<index_t>(team.league_rank()),
             static_cast<A*>(
                 team.team_scratch(level).get_shmem_aligned(static_cast<std::size_t>(bytes), 64)));
      });
}

/// The sum of all lanes, as a tree; unrolled by recursion. Halves are arrays of their own, so that
/// all stay in registers.
template <class T, std::size_t count>
KOKKOS_FORCEINLINE_FUNCTION T sum_of_lanes(const T (&lanes)[count]) {
  if constexpr (count == 1) {
    return lanes[0];
  } else {
    T half[count / 2];
    ELASTIC_SIMD
    for (std::size_t i = 0; i < count / 2; ++i) half[i] = lanes[i] + lanes[i + count / 2];
    return sum_of_lanes(half);
  }
}

/// sum_{j < n} term(j). Term j belongs to lane j % 32, and lanes are combined in a tree, so that
/// terms which are exactly zero and stand at the end change no bit: the sum over a masked row
/// equals the sum over its prefix.
template <class T, class F>
KOKKOS_INLINE_FUNCTION T lane_sum(index_t n, const F& term) {
  constexpr index_t lanes = 32;
  T sum[lanes] = {};
  const index_t whole = n / lanes * lanes;
  for (index_t j = 0; j < whole; j += lanes) {
    ELASTIC_SIMD
    for (index_t lane = 0; lane < lanes; ++lane) sum[lane] += term(j + lane);
  }
  for (index_t j = whole; j < n; ++j) sum[j - whole] += term(j);
  return sum_of_lanes(sum);
}

/// The factor of each column: mask_j, or one.
template <class T>
struct ColumnMask {
  const T* mask;
  KOKKOS_INLINE_FUNCTION T operator()(index_t j) const { return mask[j]; }
};
template <class T>
struct NoMask {
  KOKKOS_INLINE_FUNCTION T operator()(index_t) const { return T(1); }
};
/// Calls body(m) with the factors m of a mask that may be absent, so that loops
/// inside carry no condition.
template <class T, class F>
KOKKOS_INLINE_FUNCTION void with_mask(const View1<const T>& mask, const F& body) {
  if (mask.extent(0) != 0)
    body(ColumnMask<T>{mask.data()});
  else
    body(NoMask<T>{});
}

/// total_j += sum_b partial[b * stride + j] for j < columns, over blocks b in rising order.
template <class T>
void add_block_sums(const ExecutionSpace& exec, const T* partial, index_t blocks, index_t stride,
                    const View1<T>& total) {
  for_column_pieces(
      exec, "elastic::add_block_sums", static_cast<index_t>(total.extent(0)),
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        T* out = total.data();
        for (index_t b = 0; b < blocks; ++b) {
          const T* row = partial + b * stride;
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) out[j] += row[j];
        }
      });
}

}  // namespace elastic::kernels
