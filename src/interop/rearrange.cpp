// SPDX-License-Identifier: Apache-2.0
#include "interop/rearrange.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace elastic {
namespace {

/// T is any type of the size of an element.
template <class T>
void scatter_row(const std::vector<index_t>& columns, const char* from, char* to) {
  for (std::size_t c = 0; c < columns.size(); ++c)
    if (columns[c] >= 0)
      std::memcpy(to + static_cast<std::size_t>(columns[c]) * sizeof(T), from + c * sizeof(T),
                  sizeof(T));
}

}  // namespace

std::vector<index_t> inverse_order(const std::vector<index_t>& order) {
  std::vector<index_t> target(order.size(), -1);
  for (std::size_t i = 0; i < order.size(); ++i)
    target[static_cast<std::size_t>(order[i])] = static_cast<index_t>(i);
  return target;
}

void rearrange_rows(const Rearrangement& rearrangement, index_t first_row, index_t count,
                    std::size_t element_size, const void* from, void* to) {
  ELASTIC_REQUIRE(element_size == 2 || element_size == 4 || element_size == 8, "{} bytes",
                  element_size);
  const auto& columns = rearrangement.columns;
  const auto scatter = element_size == 2   ? scatter_row<std::uint16_t>
                       : element_size == 4 ? scatter_row<std::uint32_t>
                                           : scatter_row<std::uint64_t>;
  const auto source_bytes = static_cast<std::size_t>(rearrangement.source_columns) * element_size,
             target_bytes = static_cast<std::size_t>(rearrangement.target_columns) * element_size;
  for (index_t r = 0; r < count; ++r) {
    const index_t target = rearrangement.rows[static_cast<std::size_t>(first_row + r)];
    if (target < 0) continue;
    const char* source_row =
        static_cast<const char*>(from) + static_cast<std::size_t>(r) * source_bytes;
    char* target_row = static_cast<char*>(to) + static_cast<std::size_t>(target) * target_bytes;
    if (columns.empty())
      std::memcpy(target_row, source_row, target_bytes);
    else
      scatter(columns, source_row, target_row);
  }
}

index_t rows_at_a_time(std::size_t bytes_per_row) {
  constexpr std::size_t piece_bytes = std::size_t(16) << 20;
  return static_cast<index_t>(
      std::max<std::size_t>(1, piece_bytes / std::max<std::size_t>(1, bytes_per_row)));
}

}  // namespace elastic
