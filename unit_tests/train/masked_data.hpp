// SPDX-License-Identifier: Apache-2.0
// Data of which some tokens count as targets.
#pragma once
#include <string>
#include <vector>

#include "data/indexed_dataset.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {

/// Random documents of which about a third of the tokens count as targets, as PREFIX.bin, .idx and
/// .mask; and the overrides for them.
inline std::vector<std::string> masked_data(const std::string& prefix) {
  Draw draw(11);
  std::vector<std::vector<token_t>> documents(60);
  std::vector<std::vector<std::uint8_t>> masks;
  for (auto& document : documents) {
    auto& mask = masks.emplace_back();
    for (index_t n = draw.between(5, 60); n > 0; --n) {
      document.push_back(static_cast<token_t>(draw.between(0, 63)));
      mask.push_back(draw.between(0, 2) == 0);
    }
  }
  write_indexed_dataset(prefix, 64, documents, masks);
  return {"data/source=indexed", "data/vocab_size=64", "data/train=" + prefix,
          "data/loss_mask=required"};
}

}  // namespace elastic::test
