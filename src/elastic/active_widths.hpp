// SPDX-License-Identifier: Apache-2.0
// What a layer computes in one forward pass: extents of the prefix, and soft masks on it where
// the router explores. There are three ways to the numbers of one submodel:
//
//   prefix_widths   hard: exact extents, no masks
//   masked_widths   full extents and 0/1 masks, as the public reference computes; for tests
//   SoftWidths      soft masks up to the widest choice that the router keeps (soft_widths.hpp)
//
// With a `shard`, all extents and masks are those of this tensor-parallel rank: its units of each
// layer's width (base/shard.hpp). The hidden dimension is whole on every rank.
#pragma once
#include "elastic/elastic_space.hpp"
#include "kernels/rows/rmsnorm.hpp"

namespace elastic {

/// A mask and where its gradient accumulates. Both empty: no mask (all ones).
template <class T>
struct SoftMask {
  View1<Accumulate<T>> value;
  View1<Accumulate<T>> gradient;
};

/// A norm over masked channels: its mean_width, epsilon and scale (kernels/rows/rmsnorm.hpp),
/// and d loss / d scale. That has shape [1]; for Mamba's gated norm [G], the part of each
/// group; empty if not wanted.
template <class T>
struct NormWidths {
  kernels::RmsNormParams params;
  View1<Accumulate<T>> dscale;
};

/// Extents, masks, norm and gate of one layer.
template <class T>
struct LayerActive {
  bool active = true;                    ///< false: the layer is skipped altogether
  Accumulate<T> gamma = 1;               ///< depth gate
  View1<Accumulate<T>> dgamma;           ///< [1] or empty
  index_t width = 0, head_channels = 1;  ///< computed extents
  /// Mamba [width*head_channels] on z, x and the convolution; attention [width] on the outputs of
  /// heads; MLP [width] before the activation.
  SoftMask<T> inner;
  SoftMask<T> heads;         ///< [width] besides, where the kind has a unit_mask: Mamba's on dt
  NormWidths<T> gated_norm;  ///< over each group's channels, where the kind has a group_norm
};

/// Extents and masks of a whole model.
template <class T>
struct ActiveWidths {
  index_t hidden = 0;       ///< computed hidden extent
  SoftMask<T> hidden_mask;  ///< [hidden] on the input of each norm and on each layer's output
  NormWidths<T> norm;       ///< of all norms over the hidden dimension
  std::vector<LayerActive<T>> layers;
};

/// Exact extents of a submodel; dropped layers are inactive.
template <class T>
ActiveWidths<T> prefix_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              const Shard& shard = {});
/// Full extents, 0/1 masks, corrected norms; every layer is active with gamma 0 or 1.
/// Mask gradients are kept if `with_gradients`.
template <class T>
ActiveWidths<T> masked_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              bool with_gradients = false, const Shard& shard = {});

}  // namespace elastic
