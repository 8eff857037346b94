// SPDX-License-Identifier: Apache-2.0
// Whole tensors on the host from the parts that ranks hold, and back: checkpoints are written from
// them and read into them. One tensor at a time, so memory is that of one tensor.
//
//   const auto whole = gather_shards<float>(tensor, {V, D, 1, 0}, embedding);   // on rank 0
//   take_shard<float>(whole, {V, D, 1, 0}, shard, embedding);
#pragma once
#include <vector>

#include "base/parameter.hpp"
#include "base/shard.hpp"
#include "comm/communicator.hpp"

namespace elastic {

/// A matrix [rows, columns] whose rows (columns) are sharded over ranks in units of so many, unit i
/// to rank i mod ranks (base/shard.hpp); 0: every rank has all. At most one of the two is not 0.
struct ShardedMatrix {
  index_t rows = 1, columns = 0;
  index_t row_unit = 0, column_unit = 0;

  static ShardedMatrix of(const ParameterInfo& info) {
    return {info.rows, info.columns, info.row_unit, info.column_unit};
  }
  /// True if ranks hold parts, false if every rank has all.
  bool sharded() const { return row_unit > 0 || column_unit > 0; }
  index_t local_rows(const Shard& shard) const;
  index_t local_columns(const Shard& shard) const;
};

/// Collective. The whole matrix, row by row, on rank 0 (elsewhere empty) from the parts of all
/// ranks; rank 0's own if it is not sharded. `mine` is compact. T = bfloat16, float or double.
template <class T>
std::vector<T> gather_shards(const Communicator& comm, const ShardedMatrix& matrix, const T* mine);
template <class T>
std::vector<T> gather_shards(const Communicator& comm, const ShardedMatrix& matrix,
                             const std::type_identity_t<View2<const T>>& mine);

/// The part of `shard` of a whole matrix [rows, columns]. Local.
template <class T>
std::vector<T> take_shard(const T* whole, const ShardedMatrix& matrix, const Shard& shard);
template <class T>
void take_shard(const T* whole, const ShardedMatrix& matrix, const Shard& shard,
                const std::type_identity_t<View2<T>>& mine);

/// Collective. A vector [count] on rank 0 (elsewhere empty) from the ranges that each rank holds:
/// `mine` has their elements one after the other, on the host. Elements that nobody holds are 0.
template <class T>
std::vector<T> gather_ranges(const Communicator& comm, index_t count,
                             const std::vector<Range>& ranges, const T* mine);

}  // namespace elastic
