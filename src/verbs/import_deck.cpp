// SPDX-License-Identifier: Apache-2.0
#include "verbs/import_deck.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "arch/layer_kind.hpp"
#include "deck/text.hpp"
#include "elastic/cost_model.hpp"
#include "interop/hf_config.hpp"
#include "plan/budgets.hpp"

namespace elastic {
namespace {

/// The block of a deck that describes the layers of a kind; empty if there is nothing to say.
std::string block_of(const ModelShape& shape, const LayerDescription& kind) {
  std::string lines;
  for (const auto& [key, extent] : kind.deck.of_model)
    lines += fmt::format("{} = {}\n", key, shape.*extent);
  if (const auto* layer = first_of_kind(shape, kind))
    for (const auto& [key, extent] : {std::pair{kind.deck.width, layer->width},
                                      {kind.deck.head_channels, layer->head_channels},
                                      {kind.deck.num_groups, layer->num_groups}})
      if (key) lines += fmt::format("{} = {}\n", key, extent);
  return lines.empty() ? "" : fmt::format("<{}>\n{}", kind.deck.block, lines);
}

std::string model_blocks(const ModelShape& shape) {
  std::string deck =
      fmt::format("<model>\nhybrid_layer_pattern = {}\nhidden_size = {}\nnorm_epsilon = {}\n",
                  shape.pattern(), shape.hidden_size, shape.norm_epsilon);
  for (const auto* kind : layer_kinds()) deck += block_of(shape, *kind);
  return deck;
}

/// The key of <elastic> with the allowed widths of an axis of layers.
const char* width_key(Axis axis) {
  switch (axis) {
    case Axis::mamba_heads:
      return "mamba_num_heads";
    case Axis::mamba_head_channels:
      return "mamba_head_dim";
    case Axis::attention_heads:
      return "num_attention_heads";
    case Axis::ffn:
      return "ffn_hidden_size";
    default:
      throw_contract("no axis of layers");
  }
}

/// From the full width down to half of it in eighths, in multiples of `step`.
std::vector<index_t> widths_from(index_t full, index_t step) {
  std::vector<index_t> widths;
  for (index_t eighths = 8; eighths >= 4; --eighths) {
    const index_t width = full * eighths / 8 / step * step;
    if (width > 0 && (widths.empty() || width < widths.back())) widths.push_back(width);
  }
  return widths;
}

/// The largest power of two that divides an extent into 8 parts or more; at most 256, which suits
/// every matrix unit.
index_t step_of(index_t full) {
  index_t step = 256;
  while (step > 1 && (full % step != 0 || full / step < 8)) step /= 2;
  return step;
}

/// The lists of allowed widths. Attention is left whole, as in the paper's models, but its line is
/// there: most of the cost is elsewhere, and its cache is small beside long contexts only.
std::string width_lines(const ModelShape& shape) {
  const auto line = [](const char* key, const std::vector<index_t>& widths) {
    return widths.size() < 2 ? "" : fmt::format("{} = {}\n", key, fmt::join(widths, ", "));
  };
  std::string lines =
      line("hidden_size", widths_from(shape.hidden_size, step_of(shape.hidden_size)));
  for (const auto* kind : layer_kinds()) {
    const auto* layer = first_of_kind(shape, *kind);
    if (!layer) continue;
    const index_t step = kind->deck.num_groups ? layer->num_groups : step_of(layer->width);
    std::string own = line(width_key(kind->width_axis), widths_from(layer->width, step));
    if (own.empty() && kind->channel_axis)  // as many heads as groups: each may be narrower
      own = line(width_key(*kind->channel_axis),
                 widths_from(layer->head_channels, step_of(layer->head_channels)));
    if (own.empty()) continue;
    lines += (kind->cache_kind == CacheKind::keys_values ? "# " : "") + own;
  }
  if (shape.num_layers() >= 8)
    lines += fmt::format("# drop_layers = 0, {}, {}\n", shape.num_layers() / 16 + 1,
                         2 * (shape.num_layers() / 16 + 1));
  return lines;
}

/// All but the budgets.
struct DeckText {
  std::string before, after;
  /// Whole, with an empty line before each block.
  std::string with(const std::string& budgets) const {
    std::string text;
    for (const char c : before + fmt::format("budgets = {}\n", budgets) + after) {
      if (c == '<' && text.ends_with('\n')) text += '\n';
      text += c;
    }
    return text;
  }
};

DeckText deck_text(const ModelShape& shape, const std::string& name, const std::string& parent) {
  DeckText text;
  text.before = fmt::format(
      "# The elastic run of {parent}: {layers} layers, {parameters:.0f} parameters.\n"
      "# Written by `elastic.x import`; `elastic.x DECK --check` prints the plan, and\n"
      "# `elastic.x --keys` every key. Choose the data, the widths and the length of the stages.\n"
      "<job>\nname = {name}_elastic\nparent = {parent}\n"
      "phases = rank, elastic, slice, evaluate, report\n",
      fmt::arg("parent", impl::quote_if_needed(parent, false)),
      fmt::arg("layers", shape.num_layers()), fmt::arg("parameters", parameter_count(shape)),
      fmt::arg("name", name));
  text.before += model_blocks(shape);
  text.before += fmt::format(
      "<data>\n# Choose: prefixes of .bin/.idx pairs with tokens of the model's own tokenizer, as\n"
      "# scripts/tokenize.py writes them.\nsource = indexed\ntrain = tokens\nvocab_size = {}\n",
      shape.vocab_size);
  text.before += "<rank>\nsamples = 64\nseq_length = 512\n<elastic>\n";
  text.after =
      "# Allowed widths, the full one first; lines behind a # are more that may shrink.\n" +
      width_lines(shape) +
      "# Layers of one kind stay alike, so that every program reads an export as it is; for "
      "layers\n"
      "# that choose for themselves: per_layer = ffn_hidden_size\n";
  const auto stage = [](int number, index_t length, double rate) {
    return fmt::format(
        "<stage{}>\nsteps = 500\nseq_length = {}\nglobal_batch_size = 64\n"
        "learning_rate = {}\nwarmup_steps = 50\n",
        number, length, rate);
  };
  text.after += "# Choose: steps (or tokens), lengths and learning rates.\n" + stage(1, 512, 1e-4) +
                stage(2, 2048, 5e-5) +
                "<parallel>\nmicro_batch_size = 1\nrecompute = true\n<evaluate>\nproblems = 0\n";
  return text;
}

}  // namespace

std::string deck_of(const ModelShape& shape, const std::string& name, const std::string& parent) {
  // The tokens are those of the model's own tokenizer; which files hold them, nobody has said yet.
  return fmt::format("<job>\nname = {}\nparent = {}\nphases = evaluate\n", name,
                     impl::quote_if_needed(parent, false)) +
         model_blocks(shape) +
         fmt::format("<data>\nsource = indexed\ntrain = tokens\nvocab_size = {}\n",
                     shape.vocab_size);
}

std::string elastic_deck(const ModelShape& shape, const std::string& name,
                         const std::string& parent) {
  if (const std::string unequal = heterogeneity(shape); !unequal.empty())
    throw InputError(
        fmt::format("{}: {}; a deck describes all layers of a kind alike, so that "
                    "this model can be evaluated and exported, but not trained",
                    parent, unequal));
  const DeckText text = deck_text(shape, name, parent);
  const auto can_be_met = [&](const std::string& budgets) {
    const RunConfig config = read_run_config(text.with(budgets), "deck of the import", {}).config;
    try {
      plan_budgets(config, shape, elastic_space(config, shape));
    } catch (const InputError&) {
      return false;
    }
    return true;
  };
  for (const char* budgets : {"1, 0.75, 0.5", "1, 0.8, 0.6", "1, 0.8", "1, 0.9"})
    if (can_be_met(budgets)) return text.with(budgets);
  return text.with("1");
}

}  // namespace elastic
