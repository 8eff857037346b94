// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_config.hpp"

#include <algorithm>
#include <cmath>

#include "arch/layer_kind.hpp"
#include "arch/shape_limits.hpp"
#include "interop/strict_json.hpp"

namespace elastic {
namespace {

using Names = std::vector<const char*>;

/// Access to one JSON object, with messages that say where it stands.
class Keys {
 public:
  Keys(const OrderedJson& json, std::string place) : m_json(json), m_place(std::move(place)) {
    if (!json.is_object()) refuse("is not an object");
  }
  [[noreturn]] void refuse(const std::string& reason) const {
    throw InputError(fmt::format("{}: {}", m_place, reason));
  }
  /// The value under the first of these names that is there and not null, or nullptr.
  const OrderedJson* find(const Names& names) const {
    for (const char* name : names)
      if (m_json.contains(name) && !m_json.at(name).is_null()) return &m_json.at(name);
    return nullptr;
  }
  index_t extent(const Names& names, index_t fallback = 0) const {
    const auto* value = find(names);
    if (!value && fallback > 0) return fallback;
    if (!value) refuse(fmt::format("lacks the key {}", names.front()));
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < 1 ||
        value->get<std::uint64_t>() > std::uint64_t(max_extent))
      refuse(fmt::format("{} is {}, expected a whole number from 1 to {}", names.front(),
                         value->dump(), max_extent));
    return value->get<index_t>();
  }
  double number(const Names& names, double fallback) const {
    const auto* value = find(names);
    return value ? number_of(*value, fmt::format("{}: {}", m_place, names.front())) : fallback;
  }
  bool flag(const char* name, bool fallback) const {
    const auto* value = find({name});
    if (!value) return fallback;
    if (!value->is_boolean())
      refuse(fmt::format("{} is {}, expected true or false", name, value->dump()));
    return value->get<bool>();
  }
  /// Refuses a key whose value is not the only one that is computed here.
  void expect(const char* name, const OrderedJson& only) const {
    const auto* value = find({name});
    if (value && *value != only)
      refuse(fmt::format("{} is {}, only {} is supported", name, value->dump(), only.dump()));
  }

 private:
  const OrderedJson& m_json;
  std::string m_place;
};

std::string type_name(const LayerDescription& kind) { return kind.hf.types.front(); }

char symbol_of(const OrderedJson& type, const Keys& keys) {
  std::string expected;
  for (const auto* kind : layer_kinds()) {
    for (const char* name : kind->hf.types)
      if (type == name) return kind->symbol();
    expected += (expected.empty() ? "" : ", ") + type_name(*kind);
  }
  keys.refuse(
      fmt::format("layer type {} is not supported, expected one of {}", type.dump(), expected));
}

std::string pattern_of(const Keys& keys) {
  std::string listed, pattern;
  const auto* list = keys.find({"layers_block_type", "layer_types"});
  if (list) {
    if (!list->is_array()) keys.refuse("the list of layer types is not a list");
    for (const auto& type : *list) listed += symbol_of(type, keys);
  }
  if (const auto* text = keys.find({"hybrid_override_pattern"})) {
    if (!text->is_string()) keys.refuse("hybrid_override_pattern is not a string");
    pattern = text->get<std::string>();
    if (list && pattern != listed)
      keys.refuse(fmt::format("hybrid_override_pattern is {}, the list of layer types says {}",
                              pattern, listed));
  } else if (!list) {
    keys.refuse("lacks the key hybrid_override_pattern (or layers_block_type)");
  }
  if (!list) listed = pattern;
  if (listed.empty()) keys.refuse("has no layers");
  for (std::size_t l = 0; l < listed.size(); ++l)
    if (!find_layer_kind(listed[l]))
      keys.refuse(fmt::format("hybrid_override_pattern: layer {} is '{}', expected {}", l,
                              listed[l], list_layer_kinds()));
  if (static_cast<index_t>(listed.size()) > max_layers)
    keys.refuse(fmt::format("has {} layers, at most {} are read", listed.size(), max_layers));
  const auto count = static_cast<index_t>(listed.size());
  if (keys.extent({"num_hidden_layers"}, count) != count)
    keys.refuse(fmt::format("num_hidden_layers is {}, the pattern has {} layers",
                            keys.extent({"num_hidden_layers"}), count));
  return listed;
}

/// `keys`: of one layer where it has an object of its own; `common`: of the model.
LayerShape layer_of(char symbol, const Keys& keys, const Keys& common) {
  const auto& kind = *find_layer_kind(symbol);
  const auto extent = [&](const HfExtent& from, index_t width) {
    if (from.names.empty()) return index_t{1};
    const index_t fallback = from.or_width ? width : from.fallback;
    return keys.find(from.names) ? keys.extent(from.names) : common.extent(from.names, fallback);
  };
  const index_t width = extent(kind.hf.width, 0);
  return {kind.kind, width, extent(kind.hf.head_channels, 0), extent(kind.hf.num_groups, width)};
}

std::vector<LayerShape> layers_of(const Keys& keys) {
  const std::string pattern = pattern_of(keys);
  const auto* blocks = keys.find({"block_configs"});
  if (blocks && (!blocks->is_array() || blocks->size() != pattern.size()))
    keys.refuse(fmt::format("block_configs is not a list of {} objects", pattern.size()));
  std::vector<LayerShape> layers;
  for (std::size_t l = 0; l < pattern.size(); ++l) {
    if (!blocks) {
      layers.push_back(layer_of(pattern[l], keys, keys));
      continue;
    }
    const Keys own((*blocks)[l], fmt::format("block_configs of layer {}", l));
    layers.push_back(layer_of(pattern[l], own, keys));
  }
  return layers;
}

void check_supported(const Keys& keys) {
  keys.expect("model_type", "nemotron_h");
  keys.expect("mlp_hidden_act", "relu2");
  keys.expect("mamba_hidden_act", "silu");
  for (const char* name : {"attention_bias", "mlp_bias", "use_bias", "mamba_proj_bias"})
    keys.expect(name, false);
  for (const char* name : {"use_conv_bias", "mamba_conv_bias"}) keys.expect(name, true);
  for (const char* name : {"attention_dropout", "hidden_dropout"})
    if (keys.number({name}, 0) != 0) keys.refuse(fmt::format("{} is not supported", name));
  if (keys.find({"sliding_window"})) keys.refuse("sliding_window is not supported");
  if (keys.number({"num_nextn_predict_layers"}, 0) != 0)
    keys.refuse("num_nextn_predict_layers is not supported");
  if (const auto* limit = keys.find({"time_step_limit", "mamba_dt_limit"})) {
    const bool open = limit->is_array() && limit->size() == 2 &&
                      number_of((*limit)[0], "time_step_limit") <= 0 &&
                      number_of((*limit)[1], "time_step_limit") == HUGE_VAL;
    if (!open)
      keys.refuse(
          fmt::format("time_step_limit is {}, only [0, Infinity] is supported: time steps "
                      "are not clamped",
                      limit->dump()));
  }
}

void put_layer(OrderedJson& json, const LayerShape& layer) {
  const auto& hf = description_of(layer).hf;
  const auto put = [&](const HfExtent& extent, index_t value) {
    if (!extent.names.empty()) json[extent.names.front()] = value;
  };
  put(hf.width, layer.width);
  put(hf.head_channels, layer.head_channels);
  put(hf.num_groups, layer.num_groups);
}

/// The keys of a config beyond the shape, for models that were not imported. Time steps are not
/// clamped here, so time_step_min (the clamp of some implementations) is tiny.
OrderedJson fresh_config() {
  return OrderedJson::parse(R"({
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h",
    "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": null, "eos_token_id": null,
    "pad_token_id": null, "expand": 2, "hidden_dropout": 0.0, "initializer_range": 0.02,
    "intermediate_size": 1, "mamba_num_heads": 1, "mamba_head_dim": 1, "n_groups": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 1,
    "mamba_hidden_act": "silu", "mamba_proj_bias": false, "max_position_embeddings": 131072,
    "mlp_bias": false, "mlp_hidden_act": "relu2", "num_logits_to_keep": 1,
    "rescale_prenorm_residual": true, "residual_in_fp32": false, "sliding_window": null,
    "time_step_floor": 1e-4, "time_step_limit": [0.0, {"__float__": "Infinity"}],
    "time_step_max": 0.1, "time_step_min": 1e-30, "use_bias": false, "use_cache": true,
    "use_conv_bias": true, "use_mamba_kernels": true})");
}

/// Two names of one value.
struct Alias {
  const char *old_name, *other;
};
constexpr Alias aliases[] = {{"n_groups", "mamba_n_groups"},
                             {"conv_kernel", "mamba_d_conv"},
                             {"chunk_size", "mamba_chunk_size"},
                             {"head_dim", "attention_head_dim"},
                             {"torch_dtype", "dtype"}};

const char* torch_name(ElementType type) {
  if (type == ElementType::bf16) return "bfloat16";
  if (type == ElementType::f16) return "float16";
  return type == ElementType::f64 ? "float64" : "float32";
}

}  // namespace

HfConfig read_hf_config(const std::string& text, const std::string& file) {
  const OrderedJson json = parse_json(text, file);
  const Keys keys(json, file);
  check_supported(keys);
  HfConfig config;
  config.tied = keys.flag("tie_word_embeddings", false);
  config.shape = {
      .vocab_size = keys.extent({"vocab_size"}),
      .hidden_size = keys.extent({"hidden_size"}),
      .norm_epsilon = keys.number({"layer_norm_epsilon", "rms_norm_eps", "norm_eps"}, 1e-5),
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

std::string heterogeneity(const ModelShape& shape) {
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const auto& layer = shape.layers[l];
    for (index_t first = 0; first < l; ++first) {
      const auto& other = shape.layers[first];
      if (other.kind != layer.kind || other == layer) continue;
      return fmt::format("layers {} and {} ({}) differ: {} x {} and {} x {}", first, l,
                         type_name(description_of(layer)), other.width, other.head_channels,
                         layer.width, layer.head_channels);
    }
  }
  return "";
}

std::string write_hf_config(const std::string& original, const HfConfig& config, ElementType type) {
  const ModelShape& shape = config.shape;
  OrderedJson json = original.empty() ? fresh_config() : parse_json(original, "config.json");
  for (const char* replaced : {"layers_block_type", "layer_types", "block_configs"})
    json.erase(replaced);
  json["hybrid_override_pattern"] = shape.pattern();
  json["num_hidden_layers"] = shape.num_layers();
  json["hidden_size"] = shape.hidden_size;
  json["vocab_size"] = shape.vocab_size;
  json["layer_norm_epsilon"] = shape.norm_epsilon;
  json["ssm_state_size"] = shape.mamba_state_dim;
  json["conv_kernel"] = shape.mamba_d_conv;
  json["chunk_size"] = shape.chunk_size;
  json["tie_word_embeddings"] = config.tied;
  json["torch_dtype"] = torch_name(type);
  for (const auto* kind : layer_kinds())
    if (const auto* layer = first_of_kind(shape, *kind)) put_layer(json, *layer);
  if (!heterogeneity(shape).empty())
    for (const auto& layer : shape.layers) {
      OrderedJson block = {{"block_type", type_name(description_of(layer))}};
      put_layer(block, layer);
      json["block_configs"].push_back(block);
    }
  for (const auto& alias : aliases)
    if (json.contains(alias.other) && json.contains(alias.old_name))
      json[alias.other] = json[alias.old_name];
  return dump_json(json);
}

}  // namespace elastic
