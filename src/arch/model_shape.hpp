// SPDX-License-Identifier: Apache-2.0
// Extents of a model: what the parent is, and what a sliced submodel is. Layers may differ.
#pragma once
#include <string>
#include <vector>

#include "base/parameter.hpp"

namespace elastic {

/// Symbols of hybrid_layer_pattern (Megatron-LM); what there is to say about each: layer_kind.hpp.
enum class LayerKind : char { mamba = 'M', attention = '*', mlp = '-' };

/// Throws InputError for a symbol of no kind.
LayerKind kind_of_symbol(char symbol);

/// Extents of one layer.
struct LayerShape {
  LayerKind kind;
  index_t width;              ///< what is elastic: Mamba heads H, attention (query) heads A, or F
  index_t head_channels = 1;  ///< P of Mamba, C of attention, 1 of the MLP
  index_t num_groups = 1;  ///< G of Mamba, R of attention (KV heads), 1 of the MLP; divides width
  index_t inner() const { return width * head_channels; }  ///< E, A*C or F
  char symbol() const { return static_cast<char>(kind); }  ///< in a pattern
  bool operator==(const LayerShape&) const = default;
};

/// Extents of a whole model.
struct ModelShape {
  index_t vocab_size = 0;        ///< V
  index_t hidden_size = 0;       ///< D
  double norm_epsilon = 1e-5;    ///< of every RMSNorm
  index_t mamba_state_dim = 64;  ///< N
  index_t mamba_d_conv = 4;      ///< W
  index_t chunk_size = 64;       ///< Q: changes speed and rounding only
  std::vector<LayerShape> layers;

  index_t num_layers() const { return static_cast<index_t>(layers.size()); }
  /// The symbols of the layers, "M-M*-...".
  std::string pattern() const;
  /// The full extent of an elastic dimension in a layer (ignored for `hidden`); 0 for `fixed`.
  index_t extent(Dim dim, index_t layer) const;
  bool operator==(const ModelShape&) const = default;
};

/// Throws InputError naming the layer and the rule:
/// positive extents, width divisible by num_groups.
void check_shape(const ModelShape& shape);

}  // namespace elastic
