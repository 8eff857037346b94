// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_padding.hpp"

#include <algorithm>
#include <numeric>

#include "arch/shape_limits.hpp"

namespace elastic {
namespace {

/// `widest` becomes a layer that can hold itself and `layer`, which has its kind and stands at l.
void widen(LayerShape& widest, index_t first, const LayerShape& layer, index_t l) {
  const LayerShape before = widest;
  const auto& kind = description_of(layer);
  const auto refuse = [&](const char* what, index_t a, index_t b) {
    throw InputError(
        fmt::format("layers {} and {} ({}) have {} and {} {}, which no padding makes "
                    "equal",
                    first, l, kind.name, a, b, what));
  };
  if (layer.num_groups != widest.num_groups) refuse("groups", widest.num_groups, layer.num_groups);
  if (!kind.group_norm) {
    if (layer.head_channels != widest.head_channels)
      refuse("channels per head", widest.head_channels, layer.head_channels);
    widest.width = std::max(widest.width, layer.width);
    return;
  }
  widest.width = std::lcm(widest.width, layer.width);
  widest.head_channels = std::lcm(widest.head_channels, layer.head_channels);
  if (widest.width > max_extent / widest.head_channels)
    refuse("channels", before.inner(), layer.inner());
}

}  // namespace

bool lists_widths(const LayerDescription& kind) {
  return kind.hf.head_channels.names.empty() && kind.hf.num_groups.names.empty();
}

ModelShape padded_shape(const ModelShape& shape, WidthForm form) {
  ModelShape padded = shape;
  if (form == WidthForm::heterogeneous) return padded;
  for (const auto* kind : layer_kinds()) {
    if (form == WidthForm::per_layer && lists_widths(*kind)) continue;
    index_t first = -1;
    LayerShape widest{.kind = kind->kind, .width = 0};
    for (index_t l = 0; l < shape.num_layers(); ++l) {
      const auto& layer = shape.layers[l];
      if (layer.kind != kind->kind) continue;
      if (first < 0)
        first = l, widest = layer;
      else
        widen(widest, first, layer, l);
    }
    for (auto& layer : padded.layers)
      if (layer.kind == kind->kind) layer = widest;
  }
  return padded;
}

index_t copies_of(const LayerShape& own, const LayerShape& padded, Dim dim) {
  const auto& kind = description_of(own);
  if (!kind.group_norm || (dim != kind.unit_dim && dim != kind.inner_dim)) return 1;
  const index_t heads = padded.width / own.width;
  return dim == kind.unit_dim ? heads : heads * (padded.head_channels / own.head_channels);
}

index_t padded_place(const LayerShape& own, const LayerShape& padded, Dim dim, index_t index,
                     index_t copy) {
  const auto& kind = description_of(own);
  if (dim != kind.unit_dim && dim != kind.inner_dim) return index;
  if (dim == kind.unit_dim && dim != kind.inner_dim) return index + copy * own.width;
  const index_t channel_copies = padded.head_channels / own.head_channels;
  const index_t head = index / own.head_channels + copy / channel_copies * own.width;
  const index_t channel = index % own.head_channels + copy % channel_copies * own.head_channels;
  return head * padded.head_channels + channel;
}

}  // namespace elastic
