// SPDX-License-Identifier: Apache-2.0
// Spans of sequences, cut out of whole ones.
#pragma once
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// Rows [begin, end) of every sequence, compact.
template <class T>
View2<T> rows_of_sequences(const View2<T>& all, index_t batch, index_t begin, index_t end) {
  const index_t length = all.extent_int(0) / batch, columns = all.extent_int(1);
  const auto values = to_host(all);
  std::vector<T> part;
  for (index_t b = 0; b < batch; ++b)
    part.insert(part.end(), values.begin() + (b * length + begin) * columns,
                values.begin() + (b * length + end) * columns);
  return to_device(part, batch * (end - begin), columns);
}
/// Rows of a vector with an element per row; an empty one stays empty.
template <class T>
View1<T> rows_of_sequences(const View1<T>& all, index_t batch, index_t begin, index_t end) {
  if (all.extent(0) == 0) return {};
  const View2<T> column(all.data(), all.extent(0), 1);
  return to_device(to_host(rows_of_sequences(column, batch, begin, end)));
}

}  // namespace elastic::test
