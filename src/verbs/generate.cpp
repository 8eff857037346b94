// SPDX-License-Identifier: Apache-2.0
#include "verbs/generate.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>

#include "base/region.hpp"
#include "base/stop_request.hpp"
#include "config/budget_change.hpp"
#include "elastic/cost_model.hpp"
#include "io/durable_file.hpp"
#include "model/speculative.hpp"
#include "plan/memory_limit.hpp"
#include "plan/units.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_model.hpp"
#include "verbs/token_text.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {
using Sequences = std::vector<std::vector<token_t>>;
constexpr std::size_t prompts_at_once = 16, most_prompts = std::size_t(1) << 16;
constexpr index_t most_tokens = index_t(1) << 20, most_draft = 1024;

void check_options(const GenerateOptions& options) {
  const bool speculative = !options.draft_budget.empty();
  const VerbInput checkpoint{options.checkpoint, "the checkpoint"};
  require_input_file(checkpoint);
  if (!options.out.empty())
    require_output_file(options.out, options.force,
                        {checkpoint, {options.tokens, "the file of token ids"}});
  if (options.tokens.empty() == !options.text)
    throw InputError("generate: give either --tokens or --text");
  if (options.max_tokens < 1 || options.max_tokens > most_tokens)
    throw InputError(
        fmt::format("--max-tokens {}: expected 1 to {}", options.max_tokens, most_tokens));
  check_sampling(options.sampling);
  if (options.draft_length < 1 || options.draft_length > most_draft)
    throw InputError(
        fmt::format("--draft-length {}: expected 1 to {}", options.draft_length, most_draft));
  if (speculative && options.sampling.temperature > 0)
    throw InputError("--draft-budget: speculative decoding is greedy; leave out --temperature");
  if (speculative && !options.switches.empty() &&
      options.switches != std::vector<std::string>{"none"})
    throw InputError("--draft-budget and --switch do not go together");
}

/// A checkpoint, and what it holds besides values.
struct ModelFile {
  explicit ModelFile(const std::filesystem::path& checkpoint) : reader(checkpoint) {
    reader.verify();
    stored = read_stored_head(reader);
  }
  CheckpointReader reader;
  StoredModel stored;
};

/// The model of a file in the precision T, and the widths and names of its submodels.
template <class T>
class Models {
 public:
  explicit Models(const ModelFile& file)
      : m_reader(file.reader), m_stored(file.stored), m_model(m_stored.shape, /*frozen=*/true) {
    read_model(m_reader, m_model);
  }
  const LanguageModel<T>& model() const { return m_model; }
  const RunConfig& config() const { return m_stored.deck.config; }
  kernels::Products products() const { return {.deterministic = config().job.deterministic}; }
  ActiveWidths<T> widths(const std::string& budget) const {
    const ModelShape& shape = model().shape();
    return prefix_widths<T>(
        shape, budget.empty() ? full_spec(shape) : find_submodel(m_reader, m_stored, budget));
  }
  /// Whether the budgets of the deck mean anything: a submodel of its own has none.
  bool has_budgets() const {
    return m_stored.kind != "submodel" && (m_stored.has_router || !stored_names(m_reader).empty());
  }
  /// Switches to other submodels, of texts like "BUDGET@N" or "BUDGET@MARKER".
  std::vector<BudgetSwitch<T>> switches(const std::vector<std::string>& texts) const {
    DataConfig data = config().data;
    data.vocab_size = model().shape().vocab_size;
    std::vector<BudgetSwitch<T>> result;
    for (const auto& change : read_budget_changes(data, texts))
      result.push_back(change.marker.empty()
                           ? BudgetSwitch<T>(change.after, widths(change.budget))
                           : BudgetSwitch<T>(change.marker, widths(change.budget)));
    return result;
  }

 private:
  const CheckpointReader& m_reader;
  const StoredModel& m_stored;
  LanguageModel<T> m_model;
};

template <class T>
Sequences read_prompts(const GenerateOptions& options, const Models<T>& models) {
  const index_t vocab = models.model().shape().vocab_size;
  if (!options.text) {
    auto prompts = read_token_lines(options.tokens, vocab);
    if (prompts.size() > most_prompts)
      throw InputError(fmt::format("{}: {} prompts, expected at most {}", options.tokens.string(),
                                   prompts.size(), most_prompts));
    return prompts;
  }
  auto prompt = encode_prompt(models.config().data.source, *options.text);
  if (prompt.empty()) throw InputError("--text: is empty; expected a prompt");
  for (const token_t token : prompt)
    if (token >= vocab)
      throw InputError(
          fmt::format("--text: token {} is outside the vocabulary [0, {})", token, vocab));
  return {prompt};
}

/// Throws InputError if the caches of the longest texts do not fit into this machine.
template <class T>
void check_caches(const GenerateOptions& options, const Models<T>& models, const Sequences& prompts,
                  std::size_t at_once) {
  std::size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
  const CostConfig inference{.batch = static_cast<index_t>(std::min(prompts.size(), at_once)),
                             .seq_length = static_cast<index_t>(longest) + options.max_tokens,
                             .weight_bytes = sizeof(T),
                             .kv_bytes = sizeof(T),
                             .ssm_bytes = sizeof(Accumulate<T>)};
  const ModelShape& shape = models.model().shape();
  const double bytes = kv_cache_bytes(shape, expected_widths(full_spec(shape)), inference);
  const double memory = machine_memory();
  if (bytes > memory)
    throw InputError(fmt::format(
        "--max-tokens {}: the keys and values of {} sequences of {} tokens need {}, this machine "
        "has {}",
        options.max_tokens, inference.batch, inference.seq_length, in_bytes(bytes),
        in_bytes(memory)));
}

template <class T>
token_t stop_token(const GenerateOptions& options, const Models<T>& models) {
  const index_t vocab = models.model().shape().vocab_size;
  if (!options.stop) return end_token(models.config().data.source);
  if (*options.stop < -1 || *options.stop >= vocab)
    throw InputError(fmt::format("--stop {}: expected a token in [0, {}), or -1 for none",
                                 *options.stop, vocab));
  return static_cast<token_t>(*options.stop);
}

index_t count_tokens(const Sequences& sequences) {
  index_t count = 0;
  for (const auto& sequence : sequences) count += static_cast<index_t>(sequence.size());
  return count;
}

struct Generated {
  Sequences outputs;
  double seconds = 0;
  std::string budgets;  ///< which generated how much, where that is not plain
  double rate() const {
    return static_cast<double>(count_tokens(outputs)) / std::max(seconds, 1e-9);
  }
};

/// The budgets of a text: the one that begins, and the switches to others.
struct Budgets {
  std::string first;  ///< empty: the whole model
  std::vector<std::string> changes;
  bool first_of_deck = false, changes_of_deck = false;
};

/// What the command line says; where it does not, what <generate> of the deck does.
template <class T>
Budgets choose_budgets(const GenerateOptions& options, const Models<T>& models) {
  Budgets budgets{.first = options.budget, .changes = options.switches};
  if (budgets.changes == std::vector<std::string>{"none"}) budgets.changes.clear();
  if (!models.has_budgets()) return budgets;
  const GenerateConfig& deck = models.config().generate;
  budgets.first_of_deck = options.budget.empty() && !deck.budget.empty();
  if (budgets.first_of_deck) budgets.first = deck.budget;
  budgets.changes_of_deck =
      options.switches.empty() && options.draft_budget.empty() && !deck.changes.empty();
  if (budgets.changes_of_deck) budgets.changes = deck.changes;
  return budgets;
}

/// The switches of the command line lie before the end of the longest text; those of a deck, which
/// knows no such end, may never come.
template <class T>
std::vector<BudgetSwitch<T>> switches_of(const Budgets& budgets, const GenerateOptions& options,
                                         const Models<T>& models) {
  try {
    auto switches = models.switches(budgets.changes);
    for (std::size_t i = 0; i < switches.size(); ++i)
      if (!budgets.changes_of_deck && switches[i].marker.empty() &&
          switches[i].after >= options.max_tokens)
        throw InputError(fmt::format("{}: expected N less than --max-tokens {}", budgets.changes[i],
                                     options.max_tokens));
    return switches;
  } catch (const InputError& error) {
    throw InputError(fmt::format(
        "{} {}", budgets.changes_of_deck ? "<generate>/switch of the deck:" : "--switch",
        error.what()));
  }
}

/// "budget 0.5: 9 tokens, then 1: 4 tokens", if there is more to say than the command line did.
template <class T>
std::string describe(const Budgets& budgets, const Sequences& outputs,
                     const std::vector<BudgetSwitch<T>>& switches) {
  std::vector<index_t> tokens(switches.size() + 1, 0);
  for (const auto& output : outputs) {
    auto places = switch_places(output, switches);
    places.push_back(static_cast<index_t>(output.size()));
    for (std::size_t i = 0; i < places.size(); ++i)
      tokens[i] += places[i] - (i == 0 ? 0 : places[i - 1]);
  }
  const auto part = [&](const std::string& budget, index_t count) {
    return fmt::format("{}: {} tokens", budget.empty() ? "the whole model" : budget, count);
  };
  std::string text = part(budgets.first, tokens[0]);
  for (std::size_t i = 0; i < switches.size(); ++i)
    text += ", then " + part(budgets.changes[i], tokens[i + 1]);
  return fmt::format("{}{}", text,
                     budgets.first_of_deck || budgets.changes_of_deck
                         ? fmt::format(" ({} of the deck's <generate>)",
                                       !budgets.first_of_deck     ? "switch"
                                       : !budgets.changes_of_deck ? "budget"
                                                                  : "budget and switch")
                         : "");
}

/// Plain decoding of up to `at_once` prompts together; of one where the budget changes.
template <class T>
Generated generate_plainly(const GenerateOptions& options, const Models<T>& models,
                           const Budgets& budgets, const Sequences& prompts,
                           std::size_t most_at_once) {
  const auto switches = switches_of(budgets, options, models);
  const std::size_t at_once = switches.empty() ? most_at_once : 1;
  const auto widths = models.widths(budgets.first);
  GenerationConfig config{.stop = stop_token(options, models),
                          .sampling = options.sampling,
                          .first_sequence = 0,
                          .go_on = stop_request::go_on_alone};
  Arena arena;
  Generated result;
  const double start = wall_seconds();
  for (std::size_t begin = 0; begin < prompts.size(); begin += at_once) {
    const std::size_t end = std::min(prompts.size(), begin + at_once);
    const Sequences some(prompts.begin() + static_cast<std::ptrdiff_t>(begin),
                         prompts.begin() + static_cast<std::ptrdiff_t>(end));
    std::size_t longest = 0;
    for (const auto& prompt : some) longest = std::max(longest, prompt.size());
    config.max_length = static_cast<index_t>(longest) + options.max_tokens;
    config.first_sequence = static_cast<index_t>(begin);
    for (auto& output :
         generate<T>(models.products(), arena, models.model(), widths, some, config, switches)) {
      output.resize(std::min(output.size(), static_cast<std::size_t>(options.max_tokens)));
      result.outputs.push_back(std::move(output));
    }
  }
  result.seconds = wall_seconds() - start;
  if (!switches.empty() || budgets.first_of_deck)
    result.budgets = describe(budgets, result.outputs, switches);
  return result;
}

struct Speculated : Generated {
  index_t rounds = 0, drafted = 0, accepted = 0;
};

template <class T>
Speculated speculate(const GenerateOptions& options, const Models<T>& models,
                     const Budgets& budgets, const Sequences& prompts) {
  const auto widths = models.widths(budgets.first), draft = models.widths(options.draft_budget);
  Arena arena;
  Speculated result;
  const double start = wall_seconds();
  for (const auto& prompt : prompts) {
    const auto one = generate_speculative<T>(
        models.products(), arena, models.model(), widths, draft, prompt,
        {.max_length = static_cast<index_t>(prompt.size()) + options.max_tokens,
         .stop = stop_token(options, models),
         .draft_length = options.draft_length,
         .go_on = stop_request::go_on_alone});
    result.outputs.push_back(one.tokens);
    result.rounds += one.rounds;
    result.drafted += one.drafted;
    result.accepted += one.accepted;
  }
  result.seconds = wall_seconds() - start;
  return result;
}

std::string describe(const Generated& generated) {
  return fmt::format("{}{} tokens in {:.3f} s, {:.1f} tokens/s",
                     generated.budgets.empty() ? "" : generated.budgets + "\n",
                     count_tokens(generated.outputs), generated.seconds, generated.rate());
}

std::string compare(const GenerateOptions& options, const Speculated& fast,
                    const Generated& plain) {
  const double rounds = std::max(1.0, static_cast<double>(fast.rounds));
  index_t different = 0;
  for (std::size_t i = 0; i < plain.outputs.size(); ++i)
    different += fast.outputs[i] != plain.outputs[i];
  return fmt::format(
      "speculative decoding: {}; drafts of {} by budget {}: {:.2f} accepted on average, {} of {} "
      "drafted tokens ({:.1f}%)\ngreedy decoding: {}\nspeed-up {:.2f}, {}",
      describe(fast), options.draft_length, options.draft_budget,
      static_cast<double>(fast.accepted) / rounds, fast.accepted, fast.drafted,
      100.0 * static_cast<double>(fast.accepted) / std::max(1.0, static_cast<double>(fast.drafted)),
      describe(plain), fast.rate() / plain.rate(),
      different == 0
          ? "the same tokens"
          : fmt::format("other tokens in {} of {} texts, where two are equally likely up "
                        "to rounding",
                        different, plain.outputs.size()));
}

}  // namespace

void add_generate_options(CLI::App& command, GenerateOptions& options) {
  command.add_option("--budget", options.budget,
                     "Name of a trained budget, or any part of the parent's cost; without it: the "
                     "whole model");
  command.add_option("--tokens", options.tokens, "File of token ids, one prompt per line");
  command.add_option("--text", options.text,
                     "Prompt as a text (models of reasoning problems and of text files)");
  command.add_option("--max-tokens", options.max_tokens, "Longest continuation (256)");
  auto* temperature =
      command.add_option("--temperature", options.sampling.temperature,
                         "Of the distribution that tokens are drawn from; 0: the most likely one "
                         "(0)");
  command
      .add_option("--top-p", options.sampling.top_p,
                  "Draw from the most likely tokens that together have this probability (1)")
      ->needs(temperature);
  command.add_option("--seed", options.sampling.seed, "Of the random numbers (0)")
      ->needs(temperature);
  command.add_option("--stop", options.stop,
                     "Token that ends a text, -1 for none; without it: that of the vocabulary");
  command
      .add_option(
          "--switch", options.switches,
          "BUDGET@N or BUDGET@MARKER: after N generated tokens, or after a text (text:12 for "
          "the text 12) or token:ID, this budget goes on; may be repeated. none: not even "
          "those of the deck")
      ->allow_extra_args(false);
  auto* draft = command.add_option("--draft-budget", options.draft_budget,
                                   "Speculative decoding: this budget drafts, the model checks");
  command.add_option("--draft-length", options.draft_length, "Tokens drafted at once (4)")
      ->needs(draft);
  command
      .add_option("--precision", options.precision,
                  "Of values, activations and caches: float32, bfloat16, or auto, that of the run "
                  "which wrote the file (auto)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Precision>{{"auto", Precision::automatic},
                                           {"float32", Precision::float32},
                                           {"bfloat16", Precision::bfloat16}}));
  auto* out = command.add_option("--out", options.out, "File for the continuations");
  command.add_flag("--force", options.force, "Replace the file if it exists")->needs(out);
}

namespace {
template <class T>
std::string generate_texts(const GenerateOptions& options, const Models<T>& models) {
  const Sequences prompts = read_prompts(options, models);
  const Budgets budgets = choose_budgets(options, models);
  const bool speculative = !options.draft_budget.empty();
  const std::size_t at_once = speculative ? 1 : prompts_at_once;
  check_caches(options, models, prompts, at_once);
  const auto plain = generate_plainly(options, models, budgets, prompts, at_once);
  std::string report = describe(plain);
  Sequences outputs = plain.outputs;
  if (speculative) {
    const auto fast = speculate(options, models, budgets, prompts);
    report = compare(options, fast, plain);
    outputs = fast.outputs;
  }
  std::string texts;
  for (const auto& output : outputs)
    texts +=
        (options.text ? decode_text(models.config().data.source, output) : decode_ids(output)) +
        "\n";
  if (options.out.empty()) return texts + report;
  write_file_durably(options.out, texts);
  return fmt::format("{}: {}", options.out.string(), report);
}

}  // namespace

std::string generate_from_checkpoint(const GenerateOptions& options) {
  check_options(options);
  const ModelFile file(options.checkpoint);
  const Precision precision = options.precision == Precision::automatic
                                  ? file.stored.deck.config.precision.compute
                                  : options.precision;
  return with_precision(precision,
                        [&]<class T>(T) { return generate_texts<T>(options, Models<T>(file)); });
}

}  // namespace elastic
