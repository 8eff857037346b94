// SPDX-License-Identifier: Apache-2.0
// What may be chosen: the allowed widths of every elastic axis, and the list of separate
// decisions that follow from it.
#pragma once
#include "arch/axis.hpp"
#include "elastic/submodel_spec.hpp"

namespace elastic {

/// What one axis allows.
struct AxisChoices {
  /// Allowed widths, the full one first, falling.
  /// Depth: numbers of dropped layers, 0 first, rising.
  std::vector<index_t> widths;
  /// Heterogeneous: every layer of the kind chooses for itself (never for hidden and depth).
  bool per_layer = false;
};

/// What all axes allow.
struct ElasticSpace {
  AxisChoices hidden, mamba_heads, mamba_head_channels, attention_heads, ffn, depth;
  /// Layers that depth may drop, least important first; a choice of r drops the first r.
  std::vector<index_t> drop_order;
  const AxisChoices& axis(Axis a) const;
  AxisChoices& axis(Axis a);
};

/// One categorical choice.
struct Decision {
  Axis axis;
  index_t layer;  ///< the layer it is for, or -1: all layers of the kind (or the model)
  std::vector<index_t> widths;  ///< as AxisChoices::widths
};

/// A space in which nothing is elastic. Every list holds the full width only, that of the widest
/// layer; an empty list has that meaning too.
ElasticSpace rigid_space(const ModelShape& parent);
/// Throws InputError naming axis and width unless lists start with the full width and fall
/// strictly, widths are multiples of num_groups, and head channels and depth are possible. Layers
/// of a kind may differ only where their axis is not elastic (fewer than two widths).
void check_space(const ModelShape& parent, const ElasticSpace& space);
/// All decisions in a fixed order: axes in the order of the enum, layers rising. Axes with a single
/// choice, or without layers of their kind, give none.
std::vector<Decision> list_decisions(const ModelShape& parent, const ElasticSpace& space);
/// The layers whose width a decision sets, rising; none for hidden and depth.
std::vector<index_t> decision_layers(const ModelShape& parent, const Decision& decision);
/// Whether the axis chooses the channels of each unit of a layer rather than the number of units;
/// false for hidden and depth.
bool chooses_channels(Axis axis);
/// Counts through all choices, the first decision fastest, from all zeros on. False after the last.
bool next_choice(const std::vector<Decision>& decisions, std::vector<index_t>& choice);
/// The submodel of one choice index per decision.
SubmodelSpec spec_of_choices(const ModelShape& parent, const ElasticSpace& space,
                             const std::vector<Decision>& decisions,
                             const std::vector<index_t>& choice);

}  // namespace elastic
