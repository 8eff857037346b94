// SPDX-License-Identifier: Apache-2.0
#include "verbs/harness.hpp"

#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "base/run_program.hpp"
#include "base/stop_request.hpp"
#include "config/curriculum.hpp"
#include "data/character_vocabulary.hpp"
#include "io/durable_file.hpp"
#include "plan/units.hpp"
#include "state/stored_model.hpp"
#include "train/token_sources.hpp"
#include "verbs/export.hpp"
#include "verbs/harness_script.hpp"
#include "verbs/sequence_pass.hpp"
#include "verbs/token_text.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double longest_run = 30 * 24 * 3600.0;  // seconds; the harness may take long
constexpr token_t new_line = 10;                  // before a text of bytes (scripts/lm_eval.py)

std::string python_of(const HarnessOptions& options) {
  return options.python.empty() ? chosen_python("python3") : options.python;
}

/// A held-out text and its tokens, after the one that begins it.
struct HeldOutText {
  std::string text;
  std::vector<token_t> tokens;
};

/// Without the parts of characters at both ends; empty if it is no UTF-8 within.
std::string whole_characters(std::string text) {
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  while (!text.empty() && continues(text.front())) text.erase(0, 1);
  for (int bytes = 0; bytes < 4 && !text.empty(); ++bytes) {
    try {
      Json(text).dump();
      return text;
    } catch (const Json::exception&) {
      text.pop_back();
    }
  }
  return {};
}

std::vector<HeldOutText> texts_of_problems(const RunConfig& config) {
  const ReasoningProblems problems(reasoning_config(config),
                                   static_cast<std::uint32_t>(config.job.seed), held_out_stream);
  std::vector<HeldOutText> texts;
  for (index_t i = 0; i < config.evaluate.samples; ++i) {
    const Problem problem = problems.problem(Split::validation, i);
    texts.push_back({problem.prompt + problem.completion, {}});
    texts.back().tokens = encode_prompt(SourceKind::reasoning, texts.back().text);
  }
  return texts;
}

std::vector<HeldOutText> texts_of_bytes(const RunConfig& config) {
  const auto source = make_source(config, held_out_stream);
  const index_t length = last_seq_length(make_curriculum(config), config);
  std::vector<HeldOutText> texts;
  for (index_t i = 0; i < config.evaluate.samples; ++i) {
    const Batch row = make_batch(*source, Split::validation, i, 1, length);
    const std::string text = whole_characters(decode_text(SourceKind::text, row.tokens));
    if (text.empty()) continue;
    texts.push_back({text, encode_prompt(SourceKind::text, text)});
    texts.back().tokens.insert(texts.back().tokens.begin(), new_line);
  }
  if (texts.empty()) throw InputError("evaluate: none of the held-out texts is UTF-8; give --task");
  return texts;
}

std::vector<HeldOutText> held_out_texts(const RunConfig& config) {
  switch (config.data.source) {
    case SourceKind::reasoning:
      return texts_of_problems(config);
    case SourceKind::text:
      return texts_of_bytes(config);
    case SourceKind::indexed:
      return {};
  }
  throw_contract("a source of no kind");
}

/// Bits per byte of all texts by a submodel: of every token after the first of each.
double bits_per_byte(const StoredModel& stored, const SubmodelSpec& spec,
                     const std::vector<HeldOutText>& texts) {
  const LanguageModel<Real>& model = *stored.model;
  const auto widths = prefix_widths<Real>(model.shape(), spec);
  Arena arena;
  double nats = 0, bytes = 0;
  for (const auto& text : texts) {
    const Arena::Scope scope(arena);
    const SequencePass pass = read_sequence(stored, widths, text.tokens, arena);
    const auto& context = pass.context;
    const index_t length = context.num_tokens();
    const auto logits = arena.matrix<Real>(length, model.shape().vocab_size);
    model.logits(context.products(), pass.hidden, logits);
    const auto h_logits = Kokkos::create_mirror_view_and_copy(HostSpace(), logits);
    fence(context.exec, "elastic::harness");
    for (index_t t = 0; t + 1 < length; ++t) {
      double top = h_logits(t, 0), sum = 0;
      for (index_t v = 1; v < model.shape().vocab_size; ++v)
        top = std::max<double>(top, h_logits(t, v));
      for (index_t v = 0; v < model.shape().vocab_size; ++v) sum += std::exp(h_logits(t, v) - top);
      nats += top + std::log(sum) - h_logits(t, text.tokens[static_cast<std::size_t>(t) + 1]);
    }
    bytes += static_cast<double>(text.text.size());
  }
  return nats / (bytes * std::log(2.0));
}

void write_lines(const fs::path& path, const std::vector<Json>& lines) {
  std::string text;
  for (const auto& line : lines) text += line.dump() + "\n";
  write_file_durably(path, text);
}

/// Arguments of the script but the model and the file of results.
std::vector<std::string> write_tasks(const HarnessOptions& options, const RunConfig& config,
                                     const std::vector<HeldOutText>& texts) {
  std::vector<std::string> arguments;
  if (!texts.empty()) {
    std::vector<Json> lines;
    std::size_t longest = 0;
    for (const auto& text : texts) {
      lines.push_back({{"text", text.text}});
      longest = std::max(longest, text.tokens.size());
    }
    const auto file = options.folder / "text.jsonl";
    write_lines(file, lines);
    arguments = {"--text", file.string()};
    if (options.tasks.empty() && config.data.source == SourceKind::text)
      arguments.insert(arguments.end(), {"--max-length", fmt::format("{}", longest)});
  }
  if (config.data.source == SourceKind::reasoning && config.evaluate.problems > 0) {
    const ReasoningProblems problems(reasoning_config(config),
                                     static_cast<std::uint32_t>(config.job.seed), held_out_stream);
    std::vector<Json> lines;
    for (index_t i = 0; i < config.evaluate.problems; ++i) {
      const Problem problem = problems.problem(Split::validation, i);
      lines.push_back({{"prompt", problem.prompt}, {"answer", problem.answer}});
    }
    const auto file = options.folder / "problems.jsonl";
    write_lines(file, lines);
    arguments.insert(arguments.end(), {"--problems", file.string(), "--max-tokens",
                                       fmt::format("{}", problems.longest_document())});
  }
  for (const auto& task : options.tasks)
    arguments.insert(arguments.end(), {"--task", task.string()});
  if (arguments.empty())
    throw InputError(
        "evaluate: tokens of indexed data have no text here; give --task FILE.yaml, a task of the "
        "harness");
  return arguments;
}

/// {task: {metric: value}}
Json run_script(const std::vector<std::string>& command, const fs::path& results) {
  std::string last;
  if (run_program(command, longest_run, last) != 0)
    throw RunError(fmt::format("the evaluation harness failed: {}\n  the command: {}", last,
                               fmt::join(command, " ")));
  return Json::parse(read_file(results));
}

std::string table(const std::vector<Evaluated>& results, const std::vector<double>& own,
                  const std::vector<Json>& numbers) {
  std::string text = fmt::format("{:<10} {:<24} {:<20} {:>12} {:>12}", "submodel", "task", "metric",
                                 "the harness", "elastic.x");
  for (std::size_t i = 0; i < results.size(); ++i)
    for (const auto& [task, metrics] : numbers[i].items())
      for (const auto& [metric, value] : metrics.items()) {
        std::string ours = "-";
        if (task == "held_out_text" && metric == "bits_per_byte")
          ours = fmt::format("{:.6f}", own[i]);
        if (task == "held_out_problems" && results[i].accuracy)
          ours = fmt::format("{:.6f}", *results[i].accuracy);
        text += fmt::format("\n{:<10} {:<24} {:<20} {:>12.6f} {:>12}", results[i].name, task,
                            metric, value.get<double>(), ours);
      }
  return text;
}

}  // namespace

void check_harness(const HarnessOptions& options) {
  require_output_folder(options.folder);
  for (const auto& task : options.tasks) require_input_file({task, "a task of the harness"});
  const std::string python = python_of(options);
  constexpr const char* look =
      "import importlib.util, sys\n"
      "sys.exit(', '.join(n for n in ('lm_eval', 'torch', 'transformers') if not "
      "importlib.util.find_spec(n)) or 0)";
  std::string missing;
  if (run_program({python, "-c", look}, 60, missing) != 0)
    throw InputError(fmt::format(
        "--harness: {} {}; name a python that has them with --python or $ELASTIC_PYTHON (pip "
        "install lm_eval torch transformers)",
        python, missing.empty() ? "cannot be started" : "has not the packages " + missing));
}

std::string run_harness(const HarnessOptions& options, const fs::path& checkpoint,
                        const std::vector<std::string>& overrides,
                        const std::vector<Evaluated>& results) {
  const CheckpointReader reader(checkpoint);
  const StoredModel stored = read_stored_model(reader, overrides);
  const bool whole =
      stored.kind == "submodel" || (!stored.has_router && stored_names(reader).empty());
  const auto texts = held_out_texts(stored.deck.config);
  fs::create_directories(options.folder);
  const auto tasks = write_tasks(options, stored.deck.config, texts);
  const fs::path script = options.folder / "lm_eval.py";
  write_file_durably(script, harness_script_text);
  std::vector<double> own;
  std::vector<Json> numbers;
  for (const auto& result : results) {
    stop_request::go_on_alone();
    const fs::path model = options.folder / result.name,
                   out = options.folder / (result.name + ".json");
    const std::string budget = whole ? "" : result.name;
    log::info("{}",
              export_checkpoint(
                  {.checkpoint = checkpoint, .budget = budget, .out = model, .dtype = "fp32"}));
    const SubmodelSpec spec =
        whole ? full_spec(stored.shape) : find_submodel(reader, stored, budget);
    own.push_back(texts.empty() ? 0 : bits_per_byte(stored, spec, texts));
    std::vector<std::string> command = {python_of(options), script.string(), model.string(),
                                        "--out", out.string()};
    command.insert(command.end(), tasks.begin(), tasks.end());
    numbers.push_back(run_script(command, out));
  }
  return table(results, own, numbers);
}

}  // namespace elastic
