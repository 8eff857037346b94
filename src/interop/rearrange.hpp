// SPDX-License-Identifier: Apache-2.0
// Rows and columns of one matrix put at other places of another, a few rows at a time.
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Element (r, c) goes to (rows[r], columns[c]); -1: nowhere. With empty `columns` the first
/// target_columns stay where they are and the others go nowhere.
struct Rearrangement {
  std::vector<index_t> rows, columns;
  index_t source_columns = 0, target_columns = 0;
};

/// An order as targets: target[order[i]] = i.
std::vector<index_t> inverse_order(const std::vector<index_t>& order);

/// Puts rows [first_row, first_row + count) of the source, compact, into the whole target.
/// Elements have `element_size` bytes.
void rearrange_rows(const Rearrangement& rearrangement, index_t first_row, index_t count,
                    std::size_t element_size, const void* from, void* to);

/// How many rows of this size are handled at a time: about 16 MiB, at least one row.
index_t rows_at_a_time(std::size_t bytes_per_row);

}  // namespace elastic
