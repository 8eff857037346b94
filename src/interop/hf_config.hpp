// SPDX-License-Identifier: Apache-2.0
// config.json of a NemotronH model <-> the shape of a model here.
//
// Read are two spellings: that of the published models (hybrid_override_pattern, n_groups, ...)
// and that of newer transformers (layers_block_type or layer_types, mamba_n_groups, ...). Written
// is what both read: the pattern and the old names.
//
// A model whose layers of one kind differ in width has no config in stock nemotron_h.
// It gets one object per layer under `block_configs` (names as in the config itself), which is read
// here and makes stock loaders stop at the first unequal shape.
#pragma once
#include <string>

#include "arch/model_shape.hpp"
#include "interop/element_type.hpp"

namespace elastic {

/// What config.json says that the model here needs.
struct HfConfig {
  ModelShape shape;
  bool tied = false;  ///< tie_word_embeddings: lm_head.weight is backbone.embeddings.weight
};

/// Reads config.json. Throws InputError naming file and key for what is missing, of the wrong
/// type, out of range, or describes something that the layers here do not compute (gates,
/// biases, experts, windows, ...).
HfConfig read_hf_config(const std::string& text, const std::string& file);

/// Empty if stock nemotron_h can express the shape;
/// else a sentence that names the first two layers that differ.
std::string heterogeneity(const ModelShape& shape);

/// `original` (may be empty) with the keys that shape, tying and element type decide; its other
/// keys stay. `block_configs` is written if the shape is heterogeneous.
std::string write_hf_config(const std::string& original, const HfConfig& config, ElementType type);

}  // namespace elastic
