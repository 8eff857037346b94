// SPDX-License-Identifier: Apache-2.0
// How an extent is sharded over ranks: unit i belongs to rank i mod size,
// as its local unit floor(i / size).
//
//   unit    0  1  2  3  4  5  6        size = 3
//   rank    0  1  2  0  1  2  0
//   local   0  0  0  1  1  1  2
//
// The first w units of the whole are then the first units on every rank, and ranks differ by one
// unit at most: the submodel of a budget does not depend on the number of ranks.
#pragma once
#include "base/types.hpp"

namespace elastic {

/// This rank's number in a group, and the size of the group.
struct Shard {
  int rank = 0, size = 1;
  bool operator==(const Shard&) const = default;
};

/// How many of the first `count` units belong to this rank.
KOKKOS_INLINE_FUNCTION constexpr index_t local_count(index_t count, const Shard& shard) {
  return (count - shard.rank + shard.size - 1) / shard.size;
}
/// How many indices of an extent this rank holds when it is sharded in units of `unit`
/// indices (0: every rank has all).
KOKKOS_INLINE_FUNCTION constexpr index_t local_count(index_t extent, index_t unit,
                                                     const Shard& shard) {
  return unit == 0 ? extent : local_count(extent / unit, shard) * unit;
}
/// The global number of a local unit.
KOKKOS_INLINE_FUNCTION constexpr index_t global_index(index_t local, const Shard& shard) {
  return local * shard.size + shard.rank;
}
/// Where local index i lies in the whole extent, which is sharded in units of `unit`
/// indices (0: every rank has all).
KOKKOS_INLINE_FUNCTION constexpr index_t global_index(index_t i, index_t unit, const Shard& shard) {
  return unit == 0 ? i : global_index(i / unit, shard) * unit + i % unit;
}

/// Deterministic sums over a sharded extent are formed over this many residue classes of its
/// units. It is the largest number of ranks that gives the same bits (doc/numerics.md).
constexpr int sum_classes = 8;

}  // namespace elastic
