// SPDX-License-Identifier: Apache-2.0
// `evaluate --harness FOLDER`: the submodels evaluated, exported and given to EleutherAI's
// evaluation harness (scripts/lm_eval.py, of which the program holds a copy), beside our numbers.
//
//   FOLDER/text.jsonl       held-out texts, for bits per byte
//   FOLDER/problems.jsonl   held-out problems with their answers (reasoning data)
//   FOLDER/NAME/            the submodel as a Hugging Face folder
//   FOLDER/NAME.json        what the harness says of it
//   FOLDER/lm_eval.py       the script, to run it again
#pragma once
#include "verbs/evaluate.hpp"

namespace elastic {

struct HarnessOptions {
  std::filesystem::path folder;              ///< new or empty; none: no harness
  std::string python;                        ///< empty: $ELASTIC_PYTHON, or python3
  std::vector<std::filesystem::path> tasks;  ///< tasks of the user, YAML files of the harness
};

/// Throws InputError if the folder is not new, a task is no file, or the python has not the
/// packages that are needed: before anything is computed.
void check_harness(const HarnessOptions& options);

/// Runs the harness on each of the submodels of evaluate_checkpoint, with the same arguments, on
/// one rank. Returns its numbers beside ours, as a table for people. Throws InputError for data
/// whose tokens have no text if there are no tasks, and for widths that cannot be exported;
/// RunError naming the command where the script fails. What was written by then stays.
std::string run_harness(const HarnessOptions& options, const std::filesystem::path& checkpoint,
                        const std::vector<std::string>& overrides,
                        const std::vector<Evaluated>& results);

}  // namespace elastic
