// SPDX-License-Identifier: Apache-2.0
// A checkpoint of a few KB with a tensor of each type, a text and attributes.
#pragma once
#include "io/checkpoint_file.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {

inline void fill_small(CheckpointWriter& writer, float first = 1) {
  std::vector<float> w(15 * 8);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = first + 0.37f * static_cast<float>(i);
  const std::vector<double> m = {0.1, -2.5, 1e300};
  const std::vector<index_t> order = {3, 0, 2, 1};
  writer.tensor("model/up", w.data(), 15, 8, StorageType::float32, {{"axes", "ffn hidden"}});
  writer.tensor("model/half", w.data(), 8, 15, StorageType::bfloat16);
  writer.vector("optimizer/m", m.data(), 3);
  writer.vector("ranking/order", order.data(), 4);
  writer.text("deck", "<job>\nname = test\n");
  writer.attribute("step", 100);
}

inline void write_small(const std::filesystem::path& path, float first = 1) {
  CheckpointWriter writer(path);
  fill_small(writer, first);
  writer.commit();
}

}  // namespace elastic::test
