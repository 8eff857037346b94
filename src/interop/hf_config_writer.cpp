// SPDX-License-Identifier: Apache-2.0
#include "arch/layer_kind.hpp"
#include "interop/hf_config.hpp"
#include "interop/strict_json.hpp"

namespace elastic {
namespace {

std::string type_name(const LayerDescription& kind) { return kind.hf.types.front(); }

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

/// The keys of experts. transformers 5 writes them for every model, and the converter to GGUF takes
/// a model that has num_experts_per_tok for a mixture of experts.
constexpr const char* expert_keys[] = {"n_routed_experts",
                                       "num_local_experts",
                                       "n_shared_experts",
                                       "num_experts_per_tok",
                                       "moe_intermediate_size",
                                       "moe_shared_expert_intermediate_size",
                                       "moe_latent_size",
                                       "moe_shared_expert_overlap",
                                       "routed_scaling_factor",
                                       "n_group",
                                       "topk_group",
                                       "norm_topk_prob",
                                       "output_router_logits",
                                       "mtp_layers_block_type",
                                       "mtp_hybrid_override_pattern"};

/// Writes a value under `names.front()`, and under the others where the config has them.
void put(OrderedJson& json, const std::vector<const char*>& names, const OrderedJson& value) {
  for (const char* name : names)
    if (name == names.front() || json.contains(name)) json[name] = value;
}

void put_layer(OrderedJson& json, const LayerShape& layer) {
  const auto& hf = description_of(layer).hf;
  for (const auto& [extent, value] : {std::pair{&hf.width, layer.width},
                                      {&hf.head_channels, layer.head_channels},
                                      {&hf.num_groups, layer.num_groups}})
    if (!extent->names.empty()) put(json, extent->names, value);
}

/// Values that clamp no time step: transformers takes the logarithm of time_step_min when it makes
/// weights, so that 0 is none of them.
void unclamp_time_steps(OrderedJson& json) {
  put(json, {"time_step_min", "mamba_dt_min"}, 1e-30);
  put(json, {"time_step_limit", "mamba_dt_limit"},
      OrderedJson::array({0.0, {{"__float__", "Infinity"}}}));
}

const char* torch_name(ElementType type) {
  if (type == ElementType::bf16) return "bfloat16";
  if (type == ElementType::f16) return "float16";
  return type == ElementType::f64 ? "float64" : "float32";
}

}  // namespace

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

std::string write_hf_config(const std::string& original, const HfConfig& config, ElementType type,
                            TimeStepKeys time_steps) {
  const ModelShape& shape = config.shape;
  OrderedJson json = original.empty() ? fresh_config() : parse_json(original, "config.json");
  for (const char* replaced : {"layers_block_type", "layer_types", "block_configs"})
    json.erase(replaced);
  for (const char* key : expert_keys) json.erase(key);
  json["hybrid_override_pattern"] = shape.pattern();
  json["num_hidden_layers"] = shape.num_layers();
  json["hidden_size"] = shape.hidden_size;
  json["vocab_size"] = shape.vocab_size;
  put(json, {"layer_norm_epsilon", "rms_norm_eps", "norm_eps"}, shape.norm_epsilon);
  put(json, {"ssm_state_size", "mamba_d_state"}, shape.mamba_state_dim);
  put(json, {"conv_kernel", "mamba_d_conv"}, shape.mamba_d_conv);
  put(json, {"chunk_size", "mamba_chunk_size"}, shape.chunk_size);
  put(json, {"torch_dtype", "dtype"}, torch_name(type));
  json["tie_word_embeddings"] = config.tied;
  for (const auto* kind : layer_kinds())
    if (const auto* layer = first_of_kind(shape, *kind)) put_layer(json, *layer);
  // The converter to GGUF takes 64 where this is missing, and refuses inner widths that it does not
  // divide.
  if (json.contains("mamba_head_dim")) json["mamba_d_head"] = json["mamba_head_dim"];
  if (!heterogeneity(shape).empty())
    for (const auto& layer : shape.layers) {
      OrderedJson block = {{"block_type", type_name(description_of(layer))}};
      put_layer(block, layer);
      json["block_configs"].push_back(block);
    }
  if (time_steps == TimeStepKeys::unclamped) unclamp_time_steps(json);
  return dump_json(json);
}

}  // namespace elastic
