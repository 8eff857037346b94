// SPDX-License-Identifier: Apache-2.0
// The verb `generate`: texts of a model or submodel, with caches, on one rank.
//
//   elastic.x generate model.h5 --text "12+34=" --budget 0.5
//   elastic.x generate model.h5 --tokens ids.txt --temperature 0.8 --top-p 0.9 --seed 7
//   elastic.x generate model.h5 --text "12+34=" --switch 0.5@10 --switch 1@20
//   elastic.x generate model.h5 --text "12+34=" --budget 0.5 --switch 1@#
//   elastic.x generate model.h5 --text "12+34=" --draft-budget 0.5 --precision bfloat16
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "model/sampling.hpp"

namespace CLI {
class App;
}

namespace elastic {

/// Options of the verb.
struct GenerateOptions {
  std::filesystem::path checkpoint;
  std::string budget;               ///< empty: the whole model
  std::filesystem::path tokens;     ///< file of ids, one prompt per line
  std::optional<std::string> text;  ///< or one prompt as a text
  index_t max_tokens = 256;
  SamplingConfig sampling;
  std::optional<index_t> stop;        ///< token that ends a text; absent: that of the vocabulary
  std::vector<std::string> switches;  ///< config/budget_change.hpp; or one "none"
  std::string draft_budget;           ///< of speculative decoding
  index_t draft_length = 4;
  Precision precision = Precision::automatic;  ///< automatic: that of the run that wrote the file
  std::filesystem::path out;  ///< file for the continuations; empty: part of the result
  bool force = false;         ///< an old file is replaced
};

/// Adds all options of the verb but the checkpoint.
void add_generate_options(CLI::App& command, GenerateOptions& options);

/// Where the options name no budget or no switches, <generate> of the stored deck does, unless the
/// file is a submodel of its own. Texts with switches are generated one by one.
///
/// Continuations, one per line, in the form of the prompt (text or ids), and how fast they came.
///
/// A change of budget goes on from the present caches if the new submodel is part of the one
/// before; it is then exact for itself only in what it reads from there on. Otherwise the text
/// is read again, which is exact. With a draft budget the verb also decodes greedily without
/// it, and compares tokens and speed.
///
/// Throws InputError (state/stored_model.hpp, token_text.hpp, verb_files.hpp), also for options
/// that contradict each other, are out of range or ask for more memory than there is. Throws
/// NumericsError for weights or logits that are not finite.
std::string generate_from_checkpoint(const GenerateOptions& options);

}  // namespace elastic
