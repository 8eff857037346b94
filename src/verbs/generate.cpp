// SPDX-License-Identifier: Apache-2.0
#include "verbs/generate.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "base/region.hpp"
#include "base/stop_request.hpp"
#include "elastic/cost_model.hpp"
#include "io/durable_file.hpp"
#include "model/speculative.hpp"
#include "plan/memory_limit.hpp"
#include "plan/units.hpp"
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
  if (speculative && !options.switches.empty())
    throw InputError("--draft-budget and --switch do not go together");
}

/// The model of the file and the widths and names of its submodels.
class Models {
 public:
  explicit Models(const std::filesystem::path& checkpoint) : m_reader(checkpoint) {
    m_reader.verify();
    m_stored = read_stored_model(m_reader);
  }
  const LanguageModel<Real>& model() const { return *m_stored.model; }
  const RunConfig& config() const { return m_stored.deck.config; }
  kernels::Products products() const { return {.deterministic = config().job.deterministic}; }
  ActiveWidths<Real> widths(const std::string& budget) const {
    const ModelShape& shape = model().shape();
    return prefix_widths<Real>(
        shape, budget.empty() ? full_spec(shape) : find_submodel(m_reader, m_stored, budget));
  }
  /// The switches of texts like "BUDGET@N", with rising N below `most`.
  std::vector<BudgetSwitch<Real>> switches(const std::vector<std::string>& texts,
                                           index_t most) const {
    std::vector<BudgetSwitch<Real>> result;
    index_t last = 0;
    for (const auto& text : texts) {
      const auto at = text.rfind('@');
      index_t after = 0;
      const char* end = text.data() + text.size();
      const bool whole =
          at != std::string::npos && std::from_chars(text.data() + at + 1, end, after).ptr == end;
      if (!whole || after <= last || after >= most)
        throw InputError(
            fmt::format("--switch {}: expected BUDGET@N with N = {} or more generated tokens, less "
                        "than --max-tokens {}",
                        text, last + 1, most));
      result.push_back({after, widths(text.substr(0, at))});
      last = after;
    }
    return result;
  }

 private:
  CheckpointReader m_reader;
  StoredModel m_stored;
};

Sequences read_prompts(const GenerateOptions& options, const Models& models) {
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
void check_caches(const GenerateOptions& options, const Models& models, const Sequences& prompts,
                  std::size_t at_once) {
  std::size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
  const CostConfig inference{.batch = static_cast<index_t>(std::min(prompts.size(), at_once)),
                             .seq_length = static_cast<index_t>(longest) + options.max_tokens,
                             .weight_bytes = sizeof(Real),
                             .kv_bytes = sizeof(Real),
                             .ssm_bytes = sizeof(Real)};
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

token_t stop_token(const GenerateOptions& options, const Models& models) {
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
  double rate() const {
    return static_cast<double>(count_tokens(outputs)) / std::max(seconds, 1e-9);
  }
};

/// Plain decoding of up to `at_once` prompts together.
Generated generate_plainly(const GenerateOptions& options, const Models& models,
                           const Sequences& prompts, std::size_t at_once) {
  const auto switches = models.switches(options.switches, options.max_tokens);
  if (!switches.empty() && prompts.size() > 1)
    throw InputError(fmt::format("--switch: needs one prompt; {} holds {}", options.tokens.string(),
                                 prompts.size()));
  const auto widths = models.widths(options.budget);
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
         generate<Real>(models.products(), arena, models.model(), widths, some, config, switches)) {
      output.resize(std::min(output.size(), static_cast<std::size_t>(options.max_tokens)));
      result.outputs.push_back(std::move(output));
    }
  }
  result.seconds = wall_seconds() - start;
  return result;
}

struct Speculated : Generated {
  index_t rounds = 0, drafted = 0, accepted = 0;
};

Speculated speculate(const GenerateOptions& options, const Models& models,
                     const Sequences& prompts) {
  const auto widths = models.widths(options.budget), draft = models.widths(options.draft_budget);
  Arena arena;
  Speculated result;
  const double start = wall_seconds();
  for (const auto& prompt : prompts) {
    const auto one = generate_speculative<Real>(
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
  return fmt::format("{} tokens in {:.3f} s, {:.1f} tokens/s", count_tokens(generated.outputs),
                     generated.seconds, generated.rate());
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
      .add_option("--switch", options.switches,
                  "BUDGET@N: after N generated tokens this budget goes on; may be repeated")
      ->allow_extra_args(false);
  auto* draft = command.add_option("--draft-budget", options.draft_budget,
                                   "Speculative decoding: this budget drafts, the model checks");
  command.add_option("--draft-length", options.draft_length, "Tokens drafted at once (4)")
      ->needs(draft);
  auto* out = command.add_option("--out", options.out, "File for the continuations");
  command.add_flag("--force", options.force, "Replace the file if it exists")->needs(out);
}

std::string generate_from_checkpoint(const GenerateOptions& options) {
  check_options(options);
  const Models models(options.checkpoint);
  const Sequences prompts = read_prompts(options, models);
  const bool speculative = !options.draft_budget.empty();
  const std::size_t at_once = speculative ? 1 : prompts_at_once;
  check_caches(options, models, prompts, at_once);
  const auto plain = generate_plainly(options, models, prompts, at_once);
  std::string report = describe(plain);
  Sequences outputs = plain.outputs;
  if (speculative) {
    const auto fast = speculate(options, models, prompts);
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

}  // namespace elastic
