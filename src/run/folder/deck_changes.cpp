// SPDX-License-Identifier: Apache-2.0
#include "run/folder/deck_changes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "base/error.hpp"
#include "base/log.hpp"
#include "config/run_config_schema.hpp"
#include "deck/parser.hpp"

namespace elastic {
namespace {

struct KeysOfBlock {
  std::string_view block;
  KeyDecides decides;
  std::string_view keys;
};

/// Every key of the schema stands here once; pretraining has the keys of "stageN" that it knows.
constexpr std::array table = {
    KeysOfBlock{"job", KeyDecides::start, "seed deterministic parent"},
    KeysOfBlock{"job", KeyDecides::phases, "phases"},
    KeysOfBlock{"job", KeyDecides::nothing_done,
                "name folder stop_after_step walltime watchdog_seconds"},
    KeysOfBlock{"model", KeyDecides::start,
                "hybrid_layer_pattern hidden_size norm_epsilon init_std"},
    KeysOfBlock{"mamba", KeyDecides::start,
                "num_heads head_dim num_groups state_dim d_conv chunk_size"},
    KeysOfBlock{"attention", KeyDecides::start, "num_heads num_query_groups kv_channels"},
    KeysOfBlock{"mlp", KeyDecides::start, "ffn_hidden_size"},
    KeysOfBlock{
        "data", KeyDecides::start,
        "source train weights vocab_size loss_mask validation_fraction families max_digits "
        "comparison_length "
        "assignment_length multiplication_digits expression_length program_length written_step "
        "held_out_fraction"},
    KeysOfBlock{"rank", KeyDecides::ranking,
                "samples seq_length aggregation activations order depth_measure depth_candidates"},
    KeysOfBlock{
        "elastic", KeyDecides::ranking,
        "budgets budget_names budget_kind memory_batch memory_seq_length weight_bytes "
        "kv_cache_bytes ssm_cache_bytes flops_seq_length seconds_pass seconds_batch "
        "seconds_seq_length seconds_from hidden_size mamba_num_heads "
        "mamba_head_dim num_attention_heads ffn_hidden_size drop_layers per_layer tolerance weight "
        "full_weight choice_epsilon"},
    KeysOfBlock{
        "router", KeyDecides::ranking,
        "widths hidden_size init_std hard_sample_probability samples_per_draw logit_scale_start "
        "logit_scale_end tau_start tau_end"},
    KeysOfBlock{"distill", KeyDecides::ranking,
                "temperature distillation_weight cross_entropy_weight"},
    KeysOfBlock{"teach", KeyDecides::ranking, "top_k"},
    KeysOfBlock{"teach", KeyDecides::nothing_done, "folder"},
    KeysOfBlock{"stageN", KeyDecides::length, "steps tokens"},
    KeysOfBlock{"stageN", KeyDecides::stage,
                "seq_length global_batch_size budget_probability budgets_per_sample teacher "
                "teacher_cross_entropy_weight"},
    KeysOfBlock{
        "stageN", KeyDecides::rates,
        "learning_rate router_learning_rate warmup_steps decay final_fraction decay_fraction"},
    KeysOfBlock{"optimizer", KeyDecides::start, "beta1 beta2 epsilon weight_decay clip_grad_norm"},
    KeysOfBlock{"precision", KeyDecides::start, "compute"},
    KeysOfBlock{
        "parallel", KeyDecides::nothing_done,
        "tensor_parallel_size context_parallel_size sequence_parallel micro_batch_size recompute "
        "memory_limit logit_chunk_tokens"},
    KeysOfBlock{"evaluate", KeyDecides::nothing_done,
                "every_steps samples problems extra_budgets switch_marker"},
    KeysOfBlock{"generate", KeyDecides::nothing_done, "budget switch"},
    KeysOfBlock{"checkpoint", KeyDecides::nothing_done,
                "save every_steps keep keep_every asynchronous allow_fallback"},
    KeysOfBlock{"guard", KeyDecides::nothing_done, "policy spike_factor spike_window limit"},
    KeysOfBlock{"output", KeyDecides::nothing_done, "every_steps"},
    KeysOfBlock{"comparison", KeyDecides::nothing_done,
                "pretrain_tokens exploratory_tokens distillation_tokens separate_parameters"},
};

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

/// A resolved deck, as text. Keys of later versions have their default, or what ran before them.
class Values {
 public:
  Values(const std::string& text, const std::string& file) : m_deck(text, file) {
    m_defaults.pretrain.name = "pretrain";
    m_defaults.stages.resize(1);
    bind_run_config(m_schema, m_defaults, {"stageN"});
  }
  std::string of(const std::string& block, const std::string& key) const {
    if (const auto* entry = m_deck.find(block, key)) return entry->value;
    if (block == "precision") return "float32";
    const auto* known = m_schema.find(is_stage(block) ? "stageN" : block);
    const auto* bound = known ? known->find(key) : nullptr;
    return bound ? bound->default_text : "";
  }
  double number(const std::string& block, const std::string& key) const {
    return std::strtod(of(block, key).c_str(), nullptr);
  }
  bool has_phase(const std::string& phase) const {
    std::string list = of("job", "phases");
    std::replace(list.begin(), list.end(), ',', ' ');
    const auto all = words(list);
    return std::find(all.begin(), all.end(), phase) != all.end();
  }
  /// Blocks of the stages, in their order.
  std::vector<std::string> plan() const {
    std::vector<std::string> blocks;
    if (has_phase("pretrain")) blocks.push_back("pretrain");
    if (has_phase("elastic"))
      for (const auto& block : m_deck.numbered_blocks("stage")) blocks.push_back(block);
    return blocks;
  }
  double steps(const std::string& block) const {
    const double steps = number(block, "steps");
    if (steps > 0) return steps;
    const double batch = number(block, "global_batch_size") * number(block, "seq_length");
    return batch > 0 ? std::ceil(number(block, "tokens") / batch) : 0;
  }
  static bool is_stage(std::string_view block) {
    return block != "stageN" && block.starts_with("stage");
  }

 private:
  Deck m_deck;
  RunConfig m_defaults;
  Schema m_schema;
};

class Comparison {
 public:
  Comparison(const PastRun& past, const std::string& now)
      : m_past(past), m_before(past.deck, past.file), m_now(now, "the deck at hand") {
    if (m_before.has_phase("pretrain")) m_elastic_begin = m_before.steps("pretrain");
  }

  std::vector<DeckChange> changes() {
    for (const KeysOfBlock& row : table)
      for (const auto& key : words(row.keys)) compare(std::string(row.block), key, row.decides);
    compare_stages();
    return m_changes;
  }

 private:
  index_t since_ranking() const {
    return m_past.ranked ? static_cast<index_t>(m_elastic_begin) + 1 : 0;
  }
  void add(const std::string& block, const std::string& key, index_t since) {
    add(fmt::format("<{}>/{}", block, key), m_before.of(block, key), m_now.of(block, key), since);
  }
  void add(const std::string& key, const std::string& before, const std::string& now,
           index_t since) {
    const auto text = [](const std::string& value) {
      return value.empty() ? std::string("(empty)") : value;
    };
    m_changes.push_back({key, text(before), text(now), since});
  }
  bool differs(const std::string& block, const std::string& key) const {
    return m_before.of(block, key) != m_now.of(block, key);
  }
  void compare(const std::string& block, const std::string& key, KeyDecides decides) {
    switch (decides) {
      case KeyDecides::start:
        if (differs(block, key)) add(block, key, m_past.step > 0 ? 1 : 0);
        return;
      case KeyDecides::ranking:
        if (differs(block, key)) add(block, key, since_ranking());
        return;
      case KeyDecides::phases:
        return compare_phases();
      case KeyDecides::stage:
      case KeyDecides::rates:
      case KeyDecides::length:
      case KeyDecides::nothing_done:
        return;  // of stages: compare_stages
    }
  }
  void compare_phases() {
    const auto other = [&](const char* phase) {
      return m_before.has_phase(phase) != m_now.has_phase(phase);
    };
    if (other("pretrain"))
      add("job", "phases", 1);
    else if (other("rank") || other("elastic"))
      add("job", "phases", since_ranking());
  }
  void compare_stages() {
    const auto before = m_before.plan(), now = m_now.plan();
    const auto done = static_cast<double>(m_past.step);
    double first = 0;
    for (std::size_t i = 0; i < before.size() && first < done; ++i) {
      const std::string& block = before[i];
      const auto since = static_cast<index_t>(first) + 1;
      if (i >= now.size() || now[i] != block)
        return add(fmt::format("stage {} of the plan", i + 1), fmt::format("<{}>", block),
                   i < now.size() ? fmt::format("<{}>", now[i]) : "none", since);
      compare_stage(block, first, since);
      first += m_before.steps(block);
    }
  }
  void compare_stage(const std::string& block, double first, index_t since) {
    const auto done = static_cast<double>(m_past.step);
    const double before = m_before.steps(block), now = m_now.steps(block);
    const bool ended = done >= first + before;
    if (before != now)
      add(block,
          m_before.number(block, "steps") > 0 || m_now.number(block, "steps") > 0 ? "steps"
                                                                                  : "tokens",
          ended || first + now < done ? since : 0);
    for (const KeysOfBlock& row : table) {
      if (row.block != "stageN" || row.decides == KeyDecides::length) continue;
      for (const auto& key : words(row.keys))
        if (differs(block, key))
          add(block, key, ended || row.decides == KeyDecides::stage ? since : 0);
    }
  }

  const PastRun& m_past;
  Values m_before, m_now;
  double m_elastic_begin = 0;
  std::vector<DeckChange> m_changes;
};

std::string list(const std::vector<DeckChange>& changes) {
  std::string text;
  for (const auto& change : changes) {
    text += fmt::format("\n  {}: {} before, {} now", change.key, change.before, change.now);
    if (change.since > 0)
      text += fmt::format("; decided what was done from step {} on", change.since);
  }
  return text;
}

}  // namespace

std::optional<KeyDecides> key_decides(std::string_view block, std::string_view key) {
  const bool stage = Values::is_stage(block) || block == "pretrain";
  for (const KeysOfBlock& row : table) {
    const auto keys = words(row.keys);
    if (row.block == (stage ? "stageN" : block) &&
        std::find(keys.begin(), keys.end(), key) != keys.end())
      return row.decides;
  }
  return std::nullopt;
}

std::vector<DeckChange> deck_changes(const PastRun& past, const std::string& now) {
  return Comparison(past, now).changes();
}

void check_changes(const PastRun& past, const std::string& now, bool accept_changes) {
  std::vector<DeckChange> behind, ahead;
  for (const auto& change : deck_changes(past, now))
    (change.since > 0 ? behind : ahead).push_back(change);
  if (!behind.empty() && !accept_changes)
    throw InputError(fmt::format(
        "{}: the deck differs from that of the {} steps done in {} key{}:{}\nStart a new run in "
        "another job/folder, put the values back, or go on all the same with --accept-changes.",
        past.file, past.step, behind.size(), behind.size() == 1 ? "" : "s", list(behind)));
  if (!behind.empty())
    log::warn("{}: goes on although the deck differs from that of the {} steps done:{}", past.file,
              past.step, list(behind));
  if (!ahead.empty()) log::info("changed for the steps ahead:{}", list(ahead));
}

}  // namespace elastic
