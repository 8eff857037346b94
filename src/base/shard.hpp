// SPDX-License-Identifier: Apache-2.0
// How an extent is dealt out to ranks: unit i belongs to rank i mod size, as its local unit i /
// size.
//
// Every prefix of w units is then a prefix on every rank, and ranks differ by at most one unit: the
// submodel of a budget does not depend on the number of ranks.
#pragma once
#include "base/types.hpp"

namespace elastic {

struct Shard {
  int rank = 0, size = 1;
  bool operator==(const Shard&) const = default;
};

/// Units of the first `count` that belong to this rank.
KOKKOS_INLINE_FUNCTION constexpr index_t local_count(index_t count, const Shard& shard) {
  return (count - shard.rank + shard.size - 1) / shard.size;
}
/// This rank's part of an extent, which is dealt out in units of `unit` (0: every rank has all).
KOKKOS_INLINE_FUNCTION constexpr index_t local_count(index_t extent, index_t unit,
                                                     const Shard& shard) {
  return unit == 0 ? extent : local_count(extent / unit, shard) * unit;
}
/// The global number of a local unit.
KOKKOS_INLINE_FUNCTION constexpr index_t global_index(index_t local, const Shard& shard) {
  return local * shard.size + shard.rank;
}
/// Where the local index i of an extent lies in the whole, which is dealt out in units of `unit`
/// (0: every rank has all).
KOKKOS_INLINE_FUNCTION constexpr index_t global_index(index_t i, index_t unit, const Shard& shard) {
  return unit == 0 ? i : global_index(i / unit, shard) * unit + i % unit;
}

/// Residue classes of units in which deterministic sums over a dealt-out extent are formed: the
/// largest number of ranks that gives the same bits (doc/architecture.md).
constexpr int sum_classes = 8;

}  // namespace elastic
