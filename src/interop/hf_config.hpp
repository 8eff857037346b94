// SPDX-License-Identifier: Apache-2.0
// config.json of a NemotronH model <-> the shape of a model here.
//
// Read are two spellings: that of the published models (hybrid_override_pattern, n_groups, ...)
// and that of newer transformers (layers_block_type or layer_types, mamba_n_groups, ...). Written
// is what both read: the pattern and the old names.
//
// MLPs of different widths stand as a list under intermediate_size, one entry per MLP (vLLM,
// SGLang) or per layer (TensorRT-LLM). Other layers of one kind that differ have no config in stock
// nemotron_h. Such a model gets one object per layer under `block_configs` (names as in the config
// itself), which is read here and makes stock loaders stop at the first unequal shape.
#pragma once
#include <string>

#include "arch/model_shape.hpp"
#include "interop/element_type.hpp"
#include "interop/time_steps.hpp"

namespace elastic {

/// What config.json says that the model here needs.
struct HfConfig {
  ModelShape shape;
  bool tied = false;  ///< tie_word_embeddings: lm_head.weight is backbone.embeddings.weight
  TimeStepClamps clamps = {};
  std::vector<std::string> warnings = {};  ///< what other programs read otherwise
};

/// Reads config.json. Throws InputError naming file and key for what is missing, of the wrong
/// type, out of range, contradicts another name of the same value, or describes something that the
/// layers here do not compute (gates, biases, experts, windows, ...).
HfConfig read_hf_config(const std::string& text, const std::string& file);

/// Empty if stock nemotron_h can express the shape;
/// else a sentence that names the first two layers that differ.
std::string heterogeneity(const ModelShape& shape);

/// Whether the keys that clamp time steps stay as they were: only for the very model that was
/// imported. All others were trained or cut without a clamp, and get values that clamp nothing.
enum class TimeStepKeys { as_imported, unclamped };

/// `original` (may be empty) with the keys that shape, tying and element type decide, and without
/// those of experts, which no layer here has; its other keys stay. `block_configs` is written if
/// the shape is heterogeneous.
std::string write_hf_config(const std::string& original, const HfConfig& config, ElementType type,
                            TimeStepKeys time_steps = TimeStepKeys::unclamped);

}  // namespace elastic
