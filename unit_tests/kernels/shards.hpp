// SPDX-License-Identifier: Apache-2.0
// Ranks of a sharded vocabulary played on one: the columns of each, and what ranks do together.
#pragma once
#include "base/shard.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// The columns, or rows, of one rank, compact.
template <class T>
View2<T> columns_of(const View2<T>& all, const Shard& shard) {
  const auto values = to_host(all);
  const index_t rows = all.extent_int(0), columns = all.extent_int(1);
  std::vector<T> mine;
  for (index_t i = 0; i < rows; ++i)
    for (index_t v = shard.rank; v < columns; v += shard.size)
      mine.push_back(values[i * columns + v]);
  return to_device(mine, rows, local_count(columns, shard));
}
template <class T>
View2<T> rows_of(const View2<T>& all, const Shard& shard) {
  const auto values = to_host(all);
  const index_t rows = all.extent_int(0), columns = all.extent_int(1);
  std::vector<T> mine;
  for (index_t i = shard.rank; i < rows; i += shard.size)
    mine.insert(mine.end(), &values[i * columns], &values[i * columns] + columns);
  return to_device(mine, local_count(rows, shard), columns);
}

/// One View per rank: the tree p_r += p_{r + t/2} down to p_0 (any number of ranks: in order).
template <class V>
V sum_over_ranks(const std::vector<V>& of_rank) {
  using T = typename V::non_const_value_type;
  std::vector<std::vector<T>> parts;
  for (const V& view : of_rank) parts.push_back(to_host(view));
  const auto add = [&](std::size_t to, std::size_t from) {
    for (std::size_t i = 0; i < parts[to].size(); ++i) parts[to][i] += parts[from][i];
  };
  const std::size_t ranks = parts.size();
  if ((ranks & (ranks - 1)) == 0)
    for (std::size_t half = ranks / 2; half > 0; half /= 2)
      for (std::size_t r = 0; r < half; ++r) add(r, r + half);
  else
    for (std::size_t r = 1; r < ranks; ++r) add(0, r);
  const V result = clone(of_rank[0]);
  assign(result, parts[0]);
  return result;
}
template <class V>
V maximum_over_ranks(const std::vector<V>& of_rank) {
  auto largest = to_host(of_rank[0]);
  for (const V& view : of_rank) {
    const auto values = to_host(view);
    for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], values[i]);
  }
  const V result = clone(of_rank[0]);
  assign(result, largest);
  return result;
}

}  // namespace elastic::test
