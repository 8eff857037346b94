// SPDX-License-Identifier: Apache-2.0
// The verb `logits`: what a model says to a sequence of tokens, for comparison
// with another implementation.
//
//   elastic.x logits runs/quickstart/model.h5 --budget 0.5 --tokens ids.txt --out logits.h5
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

struct LogitsOptions {
  std::filesystem::path checkpoint;
  std::string budget;            ///< empty: the whole model
  std::filesystem::path tokens;  ///< ids of one sequence, separated by blanks and line ends
  std::filesystem::path out;
  bool force = false;                                ///< an old file is replaced
  std::size_t bytes_at_once = std::size_t(1) << 26;  ///< of logits in memory
};

/// Writes an HDF5 file, complete or not at all. It holds `logits` [L, V]
/// (float32; row t: what follows token t) and `tokens` [L] (int64). Returns what was written, for
/// people. Throws InputError (state/stored_model.hpp, token_text.hpp, verb_files.hpp), RunError if
/// the disk fails, NumericsError for logits that are not finite.
std::string write_logits(const LogitsOptions& options);

}  // namespace elastic
