// SPDX-License-Identifier: Apache-2.0
// The elastic axes: along which a submodel may be narrower, or shorter, than its parent.
#pragma once
#include <array>

namespace elastic {

/// One elastic dimension of a parent.
enum class Axis { hidden, mamba_heads, mamba_head_channels, attention_heads, ffn, depth };
inline constexpr std::array all_axes = {
    Axis::hidden,          Axis::mamba_heads, Axis::mamba_head_channels,
    Axis::attention_heads, Axis::ffn,         Axis::depth};
inline constexpr int num_axes = static_cast<int>(all_axes.size());

/// As in the table of the router: "mamba_heads".
const char* axis_name(Axis axis);
/// Whether the axis chooses a width of layers; hidden and depth belong to the whole model.
constexpr bool is_layer_axis(Axis axis) { return axis != Axis::hidden && axis != Axis::depth; }

}  // namespace elastic
