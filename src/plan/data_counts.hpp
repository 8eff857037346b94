// SPDX-License-Identifier: Apache-2.0
// What the files of <data> hold, and how often the plan goes through them. Counts are those of
// .idx; targets are those of PREFIX.json where it is about these files, or are counted.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.hpp"

namespace elastic {

/// One file, or .bin/.idx pair, of data/train.
struct DataCount {
  std::string name;
  index_t sequences = 0, documents = 0, tokens = 0;  ///< text: tokens are bytes
  index_t training_tokens = 0;                       ///< of documents, or bytes, not held out
  std::optional<index_t> targets;  ///< tokens that count; not known: too many to count
  bool masked = false;             ///< by PREFIX.mask
  double share = 0;                ///< of the samples of a stage
  double epochs = 0;               ///< of its training tokens, in all stages together
};

/// Counts of the files that are there. Throws InputError for one that is wrong.
std::vector<DataCount> count_data(const RunConfig& config);
/// Their lines of the plan; empty for generated problems.
std::string data_lines(const RunConfig& config);

}  // namespace elastic
