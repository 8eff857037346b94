// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_config.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"
#include "arch/shape_limits.hpp"
#include "interop/config_keys.hpp"

namespace elastic {
namespace {

std::string type_name(const LayerDescription& kind) { return kind.hf.types.front(); }

char symbol_of(const OrderedJson& type, const char* key, const ConfigKeys& keys) {
  std::string expected;
  for (const auto* kind : layer_kinds()) {
    for (const char* name : kind->hf.types)
      if (type == name) return kind->symbol();
    expected += (expected.empty() ? "" : ", ") + type_name(*kind);
  }
  keys.refuse(fmt::format("{}: layer type {} is not supported, expected one of {}", key,
                          type.dump(), expected));
}

/// What one of the keys says of the layers, and the key; empty if none is there.
struct Pattern {
  const char* key = nullptr;
  std::string symbols;
};

std::vector<Pattern> given_patterns(const ConfigKeys& keys) {
  std::vector<Pattern> patterns;
  if (const auto text = keys.find({"hybrid_override_pattern"})) {
    if (!text.value->is_string()) keys.refuse("hybrid_override_pattern is not a string");
    patterns.push_back({text.name, text.value->get<std::string>()});
  }
  for (const char* key : {"layers_block_type", "layer_types"})
    if (const auto list = keys.find({key})) {
      if (!list.value->is_array())
        keys.refuse(fmt::format("{}: the list of layer types is not a list", key));
      patterns.push_back({key, ""});
      for (const auto& type : *list.value) patterns.back().symbols += symbol_of(type, key, keys);
    }
  return patterns;
}

std::string pattern_of(const ConfigKeys& keys) {
  const auto patterns = given_patterns(keys);
  if (patterns.empty()) keys.refuse("lacks the key hybrid_override_pattern (or layers_block_type)");
  const std::string& symbols = patterns.front().symbols;
  for (const auto& other : patterns)
    if (other.symbols != symbols)
      keys.refuse(fmt::format("{} is {}, and {}, the list of layer types, says {}",
                              patterns.front().key, symbols, other.key, other.symbols));
  if (symbols.empty())
    keys.refuse(fmt::format("{}: the model has no layers", patterns.front().key));
  for (std::size_t l = 0; l < symbols.size(); ++l)
    if (!find_layer_kind(symbols[l]))
      keys.refuse(fmt::format("hybrid_override_pattern: layer {} is '{}', expected {}", l,
                              symbols[l], list_layer_kinds()));
  if (static_cast<index_t>(symbols.size()) > max_layers)
    keys.refuse(fmt::format("{} has {} layers, at most {} are read", patterns.front().key,
                            symbols.size(), max_layers));
  const auto count = static_cast<index_t>(symbols.size());
  if (keys.extent({"num_hidden_layers"}, count) != count)
    keys.refuse(fmt::format("num_hidden_layers is {}, the pattern has {} layers",
                            keys.extent({"num_hidden_layers"}), count));
  return symbols;
}

/// The width of layer `l` out of a list with one entry, one per layer of the kind, or one per layer
/// of the model; only its own entry is looked at.
index_t listed_width(const ConfigKeys::Found& list, const std::string& pattern, std::size_t l,
                     const ConfigKeys& keys) {
  const auto of_kind = std::count(pattern.begin(), pattern.end(), pattern[l]);
  const auto before = std::count(pattern.begin(), pattern.begin() + std::ptrdiff_t(l), pattern[l]);
  const std::size_t size = list.value->size();
  std::size_t entry = 0;
  if (size == static_cast<std::size_t>(of_kind))
    entry = static_cast<std::size_t>(before);
  else if (size == pattern.size())
    entry = l;
  else if (size != 1)
    keys.refuse(
        fmt::format("{} is a list of {} widths, expected {}, one for each '{}' of the "
                    "pattern, or {}, one for each layer",
                    list.name, size, of_kind, pattern[l], pattern.size()));
  return keys.as_extent(fmt::format("{}[{}]", list.name, entry), (*list.value)[entry]);
}

/// `keys`: of one layer where it has an object of its own; `common`: of the model.
LayerShape layer_of(const std::string& pattern, std::size_t l, const ConfigKeys& keys,
                    const ConfigKeys& common) {
  const auto& kind = *find_layer_kind(pattern[l]);
  const bool has_list = kind.hf.head_channels.names.empty();  // heads stand in no list
  const auto extent = [&](const HfExtent& from, index_t width, bool may_be_list) {
    if (from.names.empty()) return index_t{1};
    const index_t fallback = from.or_width ? width : from.fallback;
    if (keys.find(from.names)) return keys.extent(from.names);
    const auto found = common.find(from.names);
    if (found && may_be_list && found.value->is_array())
      return listed_width(found, pattern, l, common);
    return common.extent(from.names, fallback);
  };
  const index_t width = extent(kind.hf.width, 0, has_list);
  return {kind.kind, width, extent(kind.hf.head_channels, 0, false),
          extent(kind.hf.num_groups, width, false)};
}

std::vector<LayerShape> layers_of(const ConfigKeys& keys) {
  const std::string pattern = pattern_of(keys);
  const auto blocks = keys.find({"block_configs"});
  if (blocks && (!blocks.value->is_array() || blocks.value->size() != pattern.size()))
    keys.refuse(fmt::format("block_configs is not a list of {} objects", pattern.size()));
  static const OrderedJson nothing = OrderedJson::object();
  std::vector<LayerShape> layers;
  for (std::size_t l = 0; l < pattern.size(); ++l) {
    const ConfigKeys own(blocks ? (*blocks.value)[l] : nothing,
                         keys.place() + fmt::format(": block_configs of layer {}", l));
    layers.push_back(layer_of(pattern, l, own, keys));
  }
  return layers;
}

void check_supported(const ConfigKeys& keys) {
  keys.expect("model_type", {"nemotron_h"});
  keys.expect("mlp_hidden_act", {"relu2"});
  keys.expect("mamba_hidden_act", {"silu", "swish"});  // one function
  for (const char* name : {"attention_bias", "mlp_bias", "use_bias", "mamba_proj_bias"})
    keys.expect(name, {false});
  for (const char* name : {"use_conv_bias", "mamba_conv_bias"}) keys.expect(name, {true});
  if (const auto window = keys.find({"sliding_window"}))
    keys.refuse(fmt::format("sliding_window is {}, only null is supported", window.value->dump()));
  keys.expect("num_nextn_predict_layers", {0});
}

/// Every program reads layer_norm_epsilon; the other names count for some where it is missing.
double epsilon_of(const ConfigKeys& keys, std::vector<std::string>& warnings) {
  constexpr NumberRange positive{.highest = 1, .may_be_lowest = false};
  const double epsilon = keys.number({"layer_norm_epsilon"}, 1e-5, positive);
  for (const char* other : {"rms_norm_eps", "norm_eps"})
    if (const double value = keys.number({other}, epsilon, positive); value != epsilon)
      warnings.push_back(fmt::format(
          "{}: {} is {} and is not used: transformers, vLLM and mlx-lm take layer_norm_epsilon, "
          "which is {}{}",
          keys.place(), other, value, epsilon,
          keys.find({"layer_norm_epsilon"}) ? "" : " where the key is missing"));
  return epsilon;
}

TimeStepClamps clamps_of(const ConfigKeys& keys) {
  TimeStepClamps clamps;
  clamps.has_time_step_min = bool(keys.find({"time_step_min", "mamba_dt_min"}));
  clamps.time_step_min = keys.number({"time_step_min", "mamba_dt_min"}, clamps.time_step_min);
  const auto limit = keys.find({"time_step_limit", "mamba_dt_limit"});
  if (!limit) return clamps;
  if (!limit.value->is_array() || limit.value->size() != 2)
    keys.refuse(fmt::format("{} is {}, expected a list of two numbers, as [0, Infinity]",
                            limit.name, limit.value->dump()));
  const std::string what = fmt::format("{}: {}", keys.place(), limit.name);
  clamps.lowest = number_of((*limit.value)[0], what);
  clamps.highest = number_of((*limit.value)[1], what);
  if (!(clamps.lowest <= clamps.highest))
    keys.refuse(
        fmt::format("{} is [{}, {}], expected a range", limit.name, clamps.lowest, clamps.highest));
  return clamps;
}

/// Keys that change nothing here, and what a user may think they do.
void check_without_effect(const ConfigKeys& keys, std::vector<std::string>& warnings) {
  for (const char* name : {"attention_dropout", "hidden_dropout"})
    if (const double rate = keys.number({name}, 0, {.highest = 1}); rate != 0)
      warnings.push_back(
          fmt::format("{}: {} is {}; it has no effect on what the model says, and "
                      "training here knows no dropout",
                      keys.place(), name, rate));
  const auto old_type = keys.find({"torch_dtype"}), type = keys.find({"dtype"});
  for (const auto& found : {old_type, type})
    if (found && !found.value->is_string())
      keys.refuse(fmt::format("{} is {}, expected a string, as \"bfloat16\"", found.name,
                              found.value->dump()));
  if (old_type && type && *old_type.value != *type.value)
    warnings.push_back(
        fmt::format("{}: torch_dtype is {} and dtype is {}; each tensor has the "
                    "type that its file says",
                    keys.place(), old_type.value->dump(), type.value->dump()));
}

}  // namespace

HfConfig read_hf_config(const std::string& text, const std::string& file) {
  const OrderedJson json = parse_json(text, file);
  const ConfigKeys keys(json, file);
  check_supported(keys);
  HfConfig config;
  config.tied = keys.flag("tie_word_embeddings", false);
  config.clamps = clamps_of(keys);
  check_without_effect(keys, config.warnings);
  config.shape = {.vocab_size = keys.extent({"vocab_size"}),
                  .hidden_size = keys.extent({"hidden_size"}),
                  .norm_epsilon = epsilon_of(keys, config.warnings),
                  .mamba_state_dim = keys.extent({"ssm_state_size", "mamba_d_state"}, 128),
                  .mamba_d_conv = keys.extent({"conv_kernel", "mamba_d_conv"}, 4),
                  .chunk_size = keys.extent({"chunk_size", "mamba_chunk_size"}, 128),
                  .layers = layers_of(keys)};
  try {
    check_shape(config.shape);
  } catch (const InputError& error) {
    keys.refuse(error.what());
  }
  return config;
}

}  // namespace elastic
