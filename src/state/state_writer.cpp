// SPDX-License-Identifier: Apache-2.0
#include "state/state_writer.hpp"

#include <algorithm>

#include "state/finite_numbers.hpp"

namespace elastic {

namespace {

/// Writes a whole tensor block by block.
void write_whole(CheckpointWriter& file, const StateTensor& tensor) {
  const Placement place =
      file.place(tensor.name, tensor.extents, tensor.type, {{"axes", tensor.axes}});
  std::vector<char> block;
  for (index_t b = 0; b < place.num_blocks(); ++b) {
    const Range rows = place.rows_of(b);
    const index_t columns = tensor.extents.columns;
    block.resize(place.bytes_of(b));
    tensor.fetch({rows.first * columns, rows.second * columns}, block.data());
    require_finite(file.path().string(), tensor, rows.first, block.data(), block.size());
    file.write_rows(place, rows, block.data());
  }
}

}  // namespace

void StateWriter::tensors(StateTensors more) const {
  if (m_list) {
    std::move(more.begin(), more.end(), std::back_inserter(*m_list));
    return;
  }
  for (const auto& tensor : more) {
    ELASTIC_REQUIRE(tensor.shard.size == 1, "{}: one rank writes a part", tensor.name);
    write_whole(*m_file, tensor);
  }
}

}  // namespace elastic
