// SPDX-License-Identifier: Apache-2.0
// A submodel is a set of widths: every elastic dimension of the ranked parent cut
// to a prefix, and some layers dropped.
#pragma once
#include "arch/model_shape.hpp"

namespace elastic {

/// What a submodel keeps of one layer.
struct LayerWidths {
  index_t width;          ///< kept heads or neurons, <= LayerShape::width; a multiple of num_groups
  index_t head_channels;  ///< kept channels of each unit; the parent's where they are not elastic
  bool keep = true;       ///< false: the layer is dropped
  bool operator==(const LayerWidths&) const = default;
};

/// What a submodel keeps of its parent.
struct SubmodelSpec {
  std::string name;                 ///< e.g. "0.5"
  double budget = 1;                ///< what it was chosen for
  index_t hidden_size = 0;          ///< kept hidden channels, <= D
  std::vector<LayerWidths> layers;  ///< one per layer of the parent
  /// True if all widths are equal; name and budget do not count.
  bool same_widths(const SubmodelSpec& other) const;
};

/// The submodel that is the whole parent.
SubmodelSpec full_spec(const ModelShape& parent);
/// Throws InputError naming the layer, the width and the nearest valid one.
void check_spec(const ModelShape& parent, const SubmodelSpec& spec);
/// True if every weight of `inner` is a weight of `outer`.
bool is_nested(const SubmodelSpec& inner, const SubmodelSpec& outer);
/// The submodel as a model of its own: dropped layers gone, widths cut.
ModelShape sliced_shape(const ModelShape& parent, const SubmodelSpec& spec);
/// Indices of the parent that the submodel keeps along a dimension of a layer, rising.
/// A prefix of [0, extent) unless Mamba head channels are cut; empty if the layer is dropped.
/// `fixed_extent` is used for Dim::fixed.
std::vector<index_t> kept_indices(const ModelShape& parent, const SubmodelSpec& spec, Dim dim,
                                  index_t layer, index_t fixed_extent);
/// One line for people, like "hidden 96, M 6x12, - 384 256, * 4, dropped 3 7". Kinds stand in the
/// order of their first layers; layers of a kind are one number where all are equal; heads x
/// channels where channels are cut.
std::string describe(const ModelShape& parent, const SubmodelSpec& spec);
/// Text form for checkpoints (JSON) and back. Throws InputError if it does not fit the parent.
std::string to_json(const SubmodelSpec& spec);
SubmodelSpec spec_from_json(const ModelShape& parent, const std::string& text);

}  // namespace elastic
