// SPDX-License-Identifier: Apache-2.0
// The verbs of elastic.x that work on checkpoint files: slice, inspect, evaluate,
// import, export, logits, generate, front.
#pragma once
#include <string>
#include <vector>

#include "base/error.hpp"
#include "comm/communicator.hpp"
#include "verbs/front.hpp"
#include "verbs/generate.hpp"
#include "verbs/harness.hpp"
#include "verbs/logits.hpp"

namespace CLI {
class App;
}

namespace elastic {

enum class Verb { none, slice, inspect, evaluate, import_hf, export_hf, logits, generate, front };
/// What the command line says of a verb.
struct VerbOptions {
  Verb verb = Verb::none;
  std::string checkpoint;
  std::string budget, out;
  std::string folder, deck;                ///< of import
  std::string dtype = "original", origin;  ///< of export
  bool per_layer = false, heterogeneous = false;
  bool homogeneous = false;  // slice
  bool force = false, tensors = false, verify = false;
  std::vector<std::string> overrides;  ///< of the stored deck: block/key=value
  HarnessOptions harness;              ///< of evaluate
  LogitsOptions logits;                ///< all but the checkpoint
  GenerateOptions generate;            ///< all but the checkpoint
  FrontOptions front;                  ///< all but the checkpoint
};

/// Adds a subcommand per verb; parsing one sets options.verb.
void add_verbs(CLI::App& app, VerbOptions& options);
/// Collective. Rank 0 prints the result. Every rank throws an equal error.
ExitCode run_verb(const Communicator& comm, const VerbOptions& options);

}  // namespace elastic
