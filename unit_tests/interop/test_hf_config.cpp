// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_config.hpp"

#include "elastic/cost_model.hpp"
#include "elastic/submodel_spec.hpp"
#include "interop/hf_mapping.hpp"
#include "interop/strict_json.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

/// The published 12B (nvidia/NVIDIA-Nemotron-Nano-12B-v2), as its config.json spells it.
const std::string nano12b = R"({"architectures": ["NemotronHForCausalLM"],
  "auto_map": {"AutoConfig": "configuration_nemotron_h.NemotronHConfig"}, "model_type": "nemotron_h",
  "hidden_size": 5120, "num_hidden_layers": 62, "vocab_size": 131072, "intermediate_size": 20480,
  "hybrid_override_pattern": "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-",
  "mlp_hidden_act": "relu2", "mlp_bias": false, "num_attention_heads": 40, "num_key_value_heads": 8,
  "head_dim": 128, "attention_bias": false, "mamba_num_heads": 128, "mamba_head_dim": 80, "n_groups": 8,
  "ssm_state_size": 128, "conv_kernel": 4, "use_conv_bias": true, "mamba_proj_bias": false,
  "mamba_hidden_act": "silu", "expand": 2, "chunk_size": 128, "time_step_min": 0.001, "time_step_max": 0.1,
  "time_step_limit": [0.0, Infinity], "layer_norm_epsilon": 1e-05, "use_bias": false,
  "residual_in_fp32": false, "tie_word_embeddings": false, "sliding_window": null, "torch_dtype": "bfloat16"})";

OrderedJson nano() { return parse_json(nano12b, "nano"); }
HfConfig read(const OrderedJson& json) { return read_hf_config(dump_json(json), "config.json"); }
std::string error_of(const OrderedJson& json) {
  return message_of<InputError>([&] { read(json); });
}
std::string error_with(const char* key, const OrderedJson& value) {
  OrderedJson json = nano();
  json[key] = value;
  return error_of(json);
}

TEST(HfConfig, Nano12b) {
  const HfConfig config = read_hf_config(nano12b, "config.json");
  const ModelShape& shape = config.shape;
  EXPECT_EQ(shape.num_layers(), 62);
  EXPECT_EQ(shape.layers[0], (LayerShape{LayerKind::mamba, 128, 80, 8}));
  EXPECT_EQ(shape.layers[7], (LayerShape{LayerKind::attention, 40, 128, 8}));
  EXPECT_EQ(shape.layers[1], (LayerShape{LayerKind::mlp, 20480, 1, 1}));
  EXPECT_FALSE(config.tied);
  EXPECT_EQ(parameter_count(shape, expected_widths(full_spec(shape))), 12'310'001'152.0);
  // Names and shapes as in NemotronH of transformers (src/interop/README.md), and their sum.
  std::map<std::string, std::vector<index_t>> tensors;
  index_t elements = 0;
  for (const auto& tensor : hf_tensors(shape, "backbone.", false)) {
    tensors[tensor.name] = tensor.shape;
    elements += tensor.rows() * tensor.columns();
  }
  EXPECT_EQ(elements, 12'310'001'152);
  using Shape = std::vector<index_t>;
  EXPECT_EQ(tensors.at("backbone.embeddings.weight"), (Shape{131072, 5120}));
  EXPECT_EQ(tensors.at("backbone.layers.0.mixer.in_proj.weight"), (Shape{22656, 5120}));
  EXPECT_EQ(tensors.at("backbone.layers.0.mixer.conv1d.weight"), (Shape{12288, 1, 4}));
  EXPECT_EQ(tensors.at("backbone.layers.0.mixer.conv1d.bias"), (Shape{12288}));
  EXPECT_EQ(tensors.at("backbone.layers.0.mixer.A_log"), (Shape{128}));
  EXPECT_EQ(tensors.at("backbone.layers.0.mixer.norm.weight"), (Shape{10240}));
  EXPECT_EQ(tensors.at("backbone.layers.7.mixer.k_proj.weight"), (Shape{1024, 5120}));
  EXPECT_EQ(tensors.at("backbone.layers.61.mixer.down_proj.weight"), (Shape{5120, 20480}));
  EXPECT_EQ(tensors.at("lm_head.weight"), (Shape{131072, 5120}));
  EXPECT_EQ(hf_tensors(shape, "model.", true).front().name, "model.embeddings.weight");
  EXPECT_EQ(hf_tensors(shape, "model.", true).back().name, "model.norm_f.weight");
}

TEST(HfConfig, BothSpellings) {
  const HfConfig expected = read(nano());
  const std::pair<const char*, const char*> words[] = {{"mamba", "attention"},
                                                       {"linear_attention", "full_attention"}};
  for (const char* key : {"layers_block_type", "layer_types"})
    for (const auto& [mamba, attention] : words) {
      OrderedJson json = nano();
      json.erase("hybrid_override_pattern");
      json.erase("num_hidden_layers");
      for (const char symbol : expected.shape.pattern())
        json[key].push_back(symbol == 'M' ? mamba : symbol == '*' ? attention : "mlp");
      const std::pair<const char*, const char*> renamed[] = {{"n_groups", "mamba_n_groups"},
                                                             {"conv_kernel", "mamba_d_conv"},
                                                             {"chunk_size", "mamba_chunk_size"},
                                                             {"head_dim", "attention_head_dim"}};
      for (const auto& [old_name, name] : renamed) {
        json[name] = json[old_name];
        json.erase(old_name);
      }
      json["time_step_limit"][1] = {{"__float__", "Infinity"}};
      EXPECT_EQ(read(json).shape, expected.shape);
    }
  OrderedJson json = nano();
  json["tie_word_embeddings"] = true;
  EXPECT_TRUE(read(json).tied);
}

TEST(HfConfig, Refusals) {
  contains(error_with("hidden_size", 0), "config.json: hidden_size is 0");
  contains(error_with("hidden_size", -4), "hidden_size is -4");
  contains(error_with("hidden_size", 5120.5), "hidden_size is 5120.5");
  contains(error_with("vocab_size", "many"), "vocab_size is \"many\"");
  contains(error_with("mamba_num_heads", 1ll << 40), "expected a whole number from 1 to");
  contains(error_with("mamba_num_heads", 12), "layer 0 (M): width 12 is not divisible");
  contains(error_with("hybrid_override_pattern", "M-E*"),
           "layer 2 is 'E', expected M (Mamba-2), * (attention) or - (MLP)");
  contains(error_with("hybrid_override_pattern", ""), "has no layers");
  contains(error_with("hybrid_override_pattern", "M-"), "num_hidden_layers is 62");
  contains(error_with("hybrid_override_pattern", 3), "is not a string");
  contains(error_with("hybrid_override_pattern", std::string(5000, 'M')), "at most");
  contains(error_with("layers_block_type", {"mamba"}),
           "layers_block_type, the list of layer types, says M");
  contains(error_with("layers_block_type", {"moe"}),
           "config.json: layers_block_type: layer type \"moe\" is not supported");
  contains(error_with("layers_block_type", 1), "is not a list");
  contains(error_with("mlp_hidden_act", "silu"), "only \"relu2\" is supported");
  contains(error_with("model_type", "llama"), "only \"nemotron_h\" is supported");
  contains(error_with("attention_bias", true), "attention_bias is true");
  contains(error_with("use_conv_bias", false), "only true is supported");
  contains(error_with("sliding_window", 4096), "sliding_window");
  contains(error_with("num_nextn_predict_layers", 1), "num_nextn_predict_layers");
  contains(error_with("time_step_limit", {0.1, 0.0}), "time_step_limit is [0.1, 0], expected a");
  contains(error_with("time_step_limit", {0.0}), "expected a list of two numbers");
  contains(error_with("time_step_limit", {0.0, "Infinity"}), "expected a number");
  contains(error_with("time_step_min", -0.1),
           "time_step_min is -0.1, expected a finite number >= 0");
  contains(error_with("time_step_min", "small"), "config.json: time_step_min is \"small\"");
  contains(error_with("attention_dropout", 1.5), "attention_dropout is 1.5, expected a finite");
  contains(error_with("hidden_dropout", "none"), "config.json: hidden_dropout is \"none\"");
  contains(error_with("mamba_hidden_act", "gelu"), "only \"silu\" or \"swish\" is supported");
  contains(error_with("torch_dtype", 16), "torch_dtype is 16, expected a string");
  contains(error_with("tie_word_embeddings", 1), "expected true or false");
  contains(error_with("layer_norm_epsilon", 0.0),
           "layer_norm_epsilon is 0, expected a finite number > 0, <= 1");
  contains(error_with("layer_norm_epsilon", "small"), "expected a number");
  contains(error_with("rms_norm_eps", "small"), "config.json: rms_norm_eps is \"small\"");
  contains(error_with("block_configs", {1, 2}), "is not a list of 62 objects");
  contains(error_with("block_configs", OrderedJson(std::vector<int>(62, 1))),
           "config.json: block_configs of layer 0: is not an object");
  OrderedJson json = nano();
  json.erase("hidden_size");
  contains(error_of(json), "lacks the key hidden_size");
  json = nano();
  json.erase("hybrid_override_pattern");
  contains(error_of(json), "lacks the key hybrid_override_pattern");
  contains(message_of<InputError>([] { read_hf_config("[]", "config.json"); }), "not an object");
}

TEST(HfConfig, OnlyWhatTheWidthsDecideChanges) {
  HfConfig config = read(nano());
  auto same =
      parse_json(write_hf_config(nano12b, config, ElementType::bf16, TimeStepKeys::as_imported),
                 "config.json");
  EXPECT_EQ(same.at("mamba_d_head"), 80);
  same.erase("mamba_d_head");
  EXPECT_EQ(same, nano());  // with every other key and the infinity

  config.shape.hidden_size = 4480;
  config.shape.layers.pop_back();
  for (auto& layer : config.shape.layers)
    if (layer.kind == LayerKind::mlp) layer.width = 15680;
  config.tied = true;
  const auto json = parse_json(write_hf_config(nano12b, config, ElementType::f32), "config.json");
  EXPECT_EQ(json.at("hidden_size"), 4480);
  EXPECT_EQ(json.at("intermediate_size"), 15680);
  EXPECT_EQ(json.at("num_hidden_layers"), 61);
  EXPECT_EQ(json.at("torch_dtype"), "float32");
  EXPECT_EQ(json.at("auto_map"), nano().at("auto_map"));
  EXPECT_EQ(json.at("time_step_min"), 1e-30);
  const HfConfig again = read(json);
  EXPECT_EQ(again.shape, config.shape);
  EXPECT_TRUE(again.tied);
}

TEST(HfConfig, NewSpellingsBecomeWhatBothRead) {
  OrderedJson json = nano();
  json.erase("hybrid_override_pattern");
  for (const char symbol : read(nano()).shape.pattern())
    json["layers_block_type"].push_back(symbol == 'M'   ? "mamba"
                                        : symbol == '*' ? "attention"
                                                        : "mlp");
  json["mamba_chunk_size"] = 128;
  json["dtype"] = "bfloat16";
  HfConfig config = read(json);
  config.shape.chunk_size = 64;
  const auto written =
      parse_json(write_hf_config(dump_json(json), config, ElementType::f32), "config.json");
  EXPECT_FALSE(written.contains("layers_block_type"));
  EXPECT_EQ(written.at("hybrid_override_pattern"), config.shape.pattern());
  EXPECT_EQ(written.at("mamba_chunk_size"), 64);
  EXPECT_EQ(written.at("dtype"), "float32");
  EXPECT_EQ(read(written).shape, config.shape);
}

/// Programs differ in which name they read, so both must say the same; the one name that all of
/// them prefer to others is taken, with a warning.
TEST(HfConfig, NamesOfOneValueAgree) {
  const std::pair<const char*, const char*> names[] = {
      {"n_groups", "mamba_n_groups"},     {"conv_kernel", "mamba_d_conv"},
      {"chunk_size", "mamba_chunk_size"}, {"ssm_state_size", "mamba_d_state"},
      {"head_dim", "attention_head_dim"}, {"mamba_num_heads", "mamba_n_heads"},
      {"mamba_head_dim", "mamba_d_head"}, {"time_step_min", "mamba_dt_min"}};
  for (const auto& [name, other] : names) {
    OrderedJson json = nano();
    json[other] = json[name];
    EXPECT_EQ(read(json).shape, read(nano()).shape) << other;
    json.erase(name);
    EXPECT_EQ(read(json).shape, read(nano()).shape) << other;
    const auto message = error_with(other, 2);
    contains(message, fmt::format("config.json: {} is {}", name, nano().at(name).dump()));
    contains(message, fmt::format("its other name {} is 2", other));
  }
  contains(error_with("layer_types", {"mamba"}), "layer_types, the list of layer types, says M");

  for (const char* other : {"rms_norm_eps", "norm_eps"}) {
    OrderedJson json = nano();
    json[other] = 1e-05;
    EXPECT_TRUE(read(json).warnings.empty());
    json[other] = 1e-3;
    EXPECT_EQ(read(json).shape.norm_epsilon, 1e-5);
    contains(read(json).warnings.at(0),
             fmt::format("config.json: {} is 0.001 and is not used", other));
    json.erase("layer_norm_epsilon");  // of which transformers has a default of its own
    EXPECT_EQ(read(json).shape.norm_epsilon, 1e-5);
    const auto written =
        parse_json(write_hf_config(dump_json(json), read(json), ElementType::f32), "");
    EXPECT_EQ(written.at(other), 1e-5);
    EXPECT_EQ(written.at("layer_norm_epsilon"), 1e-5);
  }
}

/// transformers 5 writes the keys of experts for every model; the converter to GGUF takes one that
/// has num_experts_per_tok for a mixture of experts, and 64 for a mamba_d_head that is missing.
TEST(HfConfig, KeysOfExpertsAreReadAndNotWritten) {
  OrderedJson json = nano();
  json["n_routed_experts"] = 8;
  json["num_experts_per_tok"] = 2;
  json["moe_latent_size"] = nullptr;
  json["n_group"] = 1;
  json["mtp_layers_block_type"] = {"full_attention", "moe"};
  HfConfig config = read(json);
  EXPECT_EQ(config.shape, read(nano()).shape);
  EXPECT_TRUE(config.warnings.empty());
  for (auto& layer : config.shape.layers)
    if (layer.kind == LayerKind::mamba) layer = {LayerKind::mamba, 24, 7, 8};
  for (const auto times : {TimeStepKeys::as_imported, TimeStepKeys::unclamped}) {
    const auto written =
        parse_json(write_hf_config(dump_json(json), config, ElementType::bf16, times), "");
    for (const auto& [key, value] : written.items()) {
      EXPECT_FALSE(key.starts_with("moe_") || key.starts_with("mtp_")) << key;
      EXPECT_EQ(key.find("expert"), std::string::npos) << key;
    }
    EXPECT_FALSE(written.contains("n_group"));
    EXPECT_EQ(written.at("n_groups"), 8);
    EXPECT_EQ(written.at("mamba_d_head"), 7);
  }
  EXPECT_EQ(parse_json(write_hf_config("", config, ElementType::bf16), "").at("mamba_d_head"), 7);
}

/// Trained weights never met a clamp: what is written lets no program clamp them.
TEST(HfConfig, TimeStepsAreNotClamped) {
  OrderedJson json = nano();
  json.erase("time_step_min");
  EXPECT_EQ(read(json).clamps.time_step_min, 0.001);  // what transformers takes
  json["mamba_dt_min"] = 0.01;
  json["mamba_dt_limit"] = {0.0, 0.5};
  json.erase("time_step_limit");
  const HfConfig config = read(json);
  EXPECT_EQ(config.clamps.time_step_min, 0.01);
  EXPECT_EQ(config.clamps.highest, 0.5);
  const HfConfig written =
      read_hf_config(write_hf_config(dump_json(json), config, ElementType::f32), "");
  EXPECT_EQ(written.clamps.time_step_min, 1e-30);
  EXPECT_EQ(written.clamps.lowest, 0);
  EXPECT_EQ(written.clamps.highest, HUGE_VAL);
  const auto kept =
      write_hf_config(dump_json(json), config, ElementType::f32, TimeStepKeys::as_imported);
  EXPECT_EQ(read_hf_config(kept, "").clamps.highest, 0.5);
  EXPECT_EQ(read_hf_config(write_hf_config("", config, ElementType::f32), "").clamps.time_step_min,
            1e-30);
}

TEST(HfConfig, WhatChangesNothingIsTaken) {
  OrderedJson json = nano();
  json["mamba_hidden_act"] = "swish";
  json["dtype"] = "bfloat16";
  EXPECT_TRUE(read(json).warnings.empty());
  EXPECT_EQ(read(json).shape, read(nano()).shape);
  json["attention_dropout"] = 0.1;
  contains(read(json).warnings.at(0), "config.json: attention_dropout is 0.1; it has no effect");
  json["hidden_dropout"] = 1;
  json["dtype"] = "float32";
  contains(read(json).warnings.at(1), "hidden_dropout is 1");
  contains(read(json).warnings.at(2), "torch_dtype is \"bfloat16\" and dtype is \"float32\"");
}

/// A list of MLP widths has one entry per MLP (vLLM, SGLang) or per layer (TensorRT-LLM).
TEST(HfConfig, ListsOfWidths) {
  OrderedJson json = nano();
  json["hybrid_override_pattern"] = "M-*-";
  json["num_hidden_layers"] = 4;
  json["intermediate_size"] = {96, 64};
  const auto widths = [&] {
    const auto layers = read(json).shape.layers;
    return std::pair{layers[1].width, layers[3].width};
  };
  EXPECT_EQ(widths(), std::pair(index_t{96}, index_t{64}));
  json["intermediate_size"] = {0, 96, 0, 64};
  EXPECT_EQ(widths(), std::pair(index_t{96}, index_t{64}));
  json["intermediate_size"] = {48};
  EXPECT_EQ(widths(), std::pair(index_t{48}, index_t{48}));
  json["intermediate_size"] = {1, 2, 3};
  contains(error_of(json), "intermediate_size is a list of 3 widths, expected 2, one for each '-'");
  json["intermediate_size"] = {96, 0};
  contains(error_of(json),
           "config.json: intermediate_size[1] is 0, expected a whole number from 1");
  json["intermediate_size"] = {96, "wide"};
  contains(error_of(json), "intermediate_size[1] is \"wide\"");
  json["intermediate_size"] = OrderedJson::array();
  contains(error_of(json), "intermediate_size is a list of 0 widths");
  json["intermediate_size"] = 96;
  json["mamba_num_heads"] = {128};
  contains(error_of(json), "mamba_num_heads is [128], expected a whole number");
}

TEST(HfConfig, AFreshConfigIsWhole) {
  const HfConfig config = read(nano());
  const std::string text = write_hf_config("", config, ElementType::bf16);
  EXPECT_EQ(read_hf_config(text, "").shape, config.shape);
  contains(text, "Infinity");
  EXPECT_EQ(text.find("__float__"), std::string::npos);
}

TEST(HfConfig, LayersThatDiffer) {
  HfConfig config = read(nano());
  EXPECT_EQ(heterogeneity(config.shape), "");
  config.shape.layers[3].width = 10240;
  config.shape.layers[4].width = 64;
  config.shape.layers[4].head_channels = 40;
  config.shape.layers[7].width = 16;
  contains(heterogeneity(config.shape), "layers 1 and 3 (mlp) differ: 20480 x 1 and 10240 x 1");
  const std::string text = write_hf_config(nano12b, config, ElementType::bf16);
  contains(text, "block_configs");
  EXPECT_EQ(read_hf_config(text, "").shape, config.shape);
  // Made equal again, the list goes.
  const std::string back = write_hf_config(text, read(nano()), ElementType::bf16);
  EXPECT_EQ(back.find("block_configs"), std::string::npos);
}

}  // namespace
}  // namespace elastic::test
