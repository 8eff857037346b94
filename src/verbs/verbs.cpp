// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.hpp"

#include <CLI/CLI.hpp>

#include "base/log.hpp"
#include "comm/all_ranks_agree.hpp"
#include "base/stop_request.hpp"
#include "verbs/evaluate.hpp"
#include "verbs/export.hpp"
#include "verbs/import.hpp"
#include "verbs/inspect.hpp"
#include "verbs/slice.hpp"

namespace elastic {
namespace {

CLI::App* add_verb(CLI::App& app, VerbOptions& options, Verb verb, const char* name,
                   const char* help) {
  auto* command = app.add_subcommand(name, help);
  command->add_option("checkpoint", options.checkpoint, "Checkpoint file (.h5)")->required();
  command->callback([&options, verb] { options.verb = verb; });
  return command;
}

void add_import_and_export(CLI::App& app, VerbOptions& options) {
  auto* import_hf = app.add_subcommand(
      "import", "Turn a Hugging Face folder of a NemotronH model into a checkpoint");
  import_hf->callback([&options] { options.verb = Verb::import_hf; });
  import_hf->add_option("folder", options.folder, "Folder with config.json and safetensors files")
      ->required();
  import_hf->add_option("checkpoint", options.checkpoint, "File to write (.h5)")->required();
  import_hf->add_option("--deck", options.deck,
                        "File to write: the deck of an elastic run of the model; without it, the "
                        "deck is printed");
  import_hf->add_flag("--force", options.force, "Replace files that exist");

  auto* export_hf = add_verb(app, options, Verb::export_hf, "export",
                             "Write a model or submodel as a Hugging Face folder");
  export_hf->add_option("--budget", options.budget,
                        "Name of a trained budget, or any part of the parent's cost; without it: "
                        "the whole model");
  export_hf->add_option("--out", options.out, "Folder to write; must be new or empty")->required();
  export_hf
      ->add_option("--dtype", options.dtype,
                   "Element type: fp16, bf16, fp32, or original (as imported; else as stored)")
      ->check(CLI::IsMember({"fp16", "bf16", "fp32", "original"}));
  auto* per_layer = export_hf->add_flag(
      "--per-layer", options.per_layer,
      "Widths of MLPs that differ as a list in intermediate_size, as vLLM and SGLang read it; "
      "without it: padded with zeros to the widest, which every loader reads");
  export_hf
      ->add_flag("--heterogeneous", options.heterogeneous,
                 "Pad nothing: one object per layer (block_configs), which import reads and other "
                 "loaders refuse")
      ->excludes(per_layer);
  export_hf->add_option("--origin", options.origin,
                        "Imported checkpoint whose config.json and tokenizer are given back; "
                        "without it: the checkpoint itself, or <job>/parent of its deck");
}

void add_verbs_on_tokens(CLI::App& app, VerbOptions& options) {
  auto* logits = add_verb(app, options, Verb::logits, "logits",
                          "Write what a model says to a sequence of tokens");
  logits->add_option("--budget", options.logits.budget,
                     "Name of a trained budget, or any part of the parent's cost; without it: the "
                     "whole model");
  logits->add_option("--tokens", options.logits.tokens, "File of token ids")->required();
  logits->add_option("--out", options.logits.out, "HDF5 file to write: logits [L, V]")->required();
  logits->add_flag("--force", options.logits.force, "Replace the file if it exists");

  auto* generate = add_verb(app, options, Verb::generate, "generate",
                            "Continue prompts with a model, across budgets or with a nested draft");
  add_generate_options(*generate, options.generate);
}

/// What a verb of rank 0 prints.
std::string run_on_root(const VerbOptions& options) {
  switch (options.verb) {
    case Verb::slice:
      return slice_checkpoint(options.checkpoint, options.budget, options.out, options.force,
                              options.homogeneous ? SliceBy::homogeneous : SliceBy::router);
    case Verb::inspect:
      return inspect_checkpoint(options.checkpoint,
                                {.tensors = options.tensors, .verify = options.verify});
    case Verb::import_hf:
      return import_checkpoint({.folder = options.folder,
                                .checkpoint = options.checkpoint,
                                .force = options.force,
                                .deck = options.deck});
    case Verb::export_hf:
      return export_checkpoint({.checkpoint = options.checkpoint,
                                .budget = options.budget,
                                .out = options.out,
                                .dtype = options.dtype,
                                .origin = options.origin,
                                .per_layer = options.per_layer,
                                .heterogeneous = options.heterogeneous});
    case Verb::logits: {
      LogitsOptions logits = options.logits;
      logits.checkpoint = options.checkpoint;
      return write_logits(logits);
    }
    case Verb::generate: {
      GenerateOptions generate = options.generate;
      generate.checkpoint = options.checkpoint;
      return generate_from_checkpoint(generate);
    }
    case Verb::evaluate:
    case Verb::front:
    case Verb::none:
      break;
  }
  throw_contract("no verb that rank 0 runs alone");
}

}  // namespace

void add_verbs(CLI::App& app, VerbOptions& options) {
  auto* slice = add_verb(app, options, Verb::slice, "slice",
                         "Cut the submodel of a budget out of a checkpoint of the elastic phase");
  slice
      ->add_option("--budget", options.budget,
                   "Name of a trained budget, or any part of the parent's cost, e.g. 0.6")
      ->required();
  slice->add_option("--out", options.out, "File to write")->required();
  slice->add_flag("--force", options.force, "Replace the file if it exists");
  slice->add_flag("--homogeneous", options.homogeneous,
                  "Widths scaled alike on every axis and in every layer, without the router");

  auto* inspect = add_verb(app, options, Verb::inspect, "inspect", "Print what a checkpoint holds");
  inspect->add_flag("--tensors", options.tensors, "List every tensor");
  inspect->add_flag("--verify", options.verify, "Read every tensor and compare its checksum");

  auto* evaluate = add_verb(app, options, Verb::evaluate, "evaluate",
                            "Held-out loss and answers of the models in a checkpoint");
  evaluate->add_option("--budget", options.budget,
                       "Only this submodel: a name, or any part of the parent's cost");
  auto* harness = evaluate->add_option(
      "--harness", options.harness.folder,
      "Also run EleutherAI's evaluation harness on every submodel, exported to this new folder");
  evaluate
      ->add_option("--task", options.harness.tasks,
                   "With --harness: a task of the harness (YAML) besides those of the held-out "
                   "data; may be repeated")
      ->allow_extra_args(false)
      ->needs(harness);
  evaluate
      ->add_option("--python", options.harness.python,
                   "With --harness: the python that has lm_eval; without it: $ELASTIC_PYTHON, or "
                   "python3")
      ->needs(harness);
  evaluate->add_option("overrides", options.overrides,
                       "Changes to the stored deck (its data, evaluate/samples and others): "
                       "block/key=value ...");

  auto* front = add_verb(app, options, Verb::front, "front",
                         "Pareto front of loss, parameters, memory and time over many submodels");
  add_front_options(*front, options.front);

  add_import_and_export(app, options);
  add_verbs_on_tokens(app, options);
}

namespace {
void run_front(const Communicator& comm, const VerbOptions& verb) {
  FrontOptions options = verb.front;
  options.checkpoint = verb.checkpoint;
  const auto on_root = [&](const auto& work) {
    all_ranks_agree(comm, [&] {
      if (comm.is_root()) work();
    });
  };
  on_root([&] { require_front_folder(options); });
  const Front front = evaluate_front(comm, options);
  on_root([&] { log::info("{}\n{}", describe(front), write_front(options, front)); });
}
}  // namespace

ExitCode run_verb(const Communicator& comm, const VerbOptions& options) {
  try {
    if (options.verb == Verb::evaluate) {
      const bool harness = !options.harness.folder.empty();
      all_ranks_agree(comm, [&] {
        if (harness && comm.is_root()) check_harness(options.harness);
      });
      const auto results =
          evaluate_checkpoint(comm, options.checkpoint, options.budget, options.overrides);
      log::info("{}", describe(results));
      all_ranks_agree(comm, [&] {
        if (harness && comm.is_root())
          log::info("{}",
                    run_harness(options.harness, options.checkpoint, options.overrides, results));
      });
    } else if (options.verb == Verb::front) {
      run_front(comm, options);
    } else {
      all_ranks_agree(comm, [&] {
        if (comm.is_root()) log::info("{}", run_on_root(options));
      });
    }
  } catch (const Stopped&) {
    log::info("stopped as asked; nothing was written");
    return ExitCode::requeue;
  }
  return ExitCode::success;
}

}  // namespace elastic
