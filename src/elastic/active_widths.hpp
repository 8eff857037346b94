// SPDX-License-Identifier: Apache-2.0
// What a layer computes in one forward pass: extents of the prefix, and soft masks on it where
// the router explores. There are three ways to the numbers of one submodel:
//
//   prefix_widths   hard: exact extents, no masks
//   masked_widths   full extents and 0/1 masks, as the public reference computes; for tests
//   SoftWidths      soft masks up to the widest choice with non-zero probability
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

/// Probabilities of all decisions: one list per decision.
using Probabilities = std::vector<std::vector<double>>;

/// Masks from probabilities, and the gradient back to them (derivation:
/// doc/equations/soft_masks.md):
///
///   m_j      = sum_i pi_i [j < width_i]
///   rho_i    = width_i / full
///   gamma_l  = P(layer l is kept)
///   epsilon' = epsilon sum_i pi_i rho_i      no gradient
///   scale    = sum_i pi_i sqrt(rho_i)
///   dL/dpi_i = sum_{j < width_i} dL/dm_j + sqrt(rho_i) dL/dscale
///
/// Choices with pi_i < epsilon_choice are dropped and the rest renormalised. Dropped choices get
/// no gradient; the renormalisation, a factor within (number of choices) * epsilon_choice of 1,
/// is taken as constant. Extents reach to the widest choice left.
///
/// A decision with one choice left is hard (no mask) unless another axis of its mask is soft.
/// Mamba's inner mask is the product of head and channel masks. The mean width stays that of the
/// parent (mean over D, or E/G) while soft, and becomes the exact one when hard.
template <class T>
class SoftWidths {
 public:
  SoftWidths(const ModelShape& parent, const ElasticSpace& space, double epsilon_choice = 1e-3,
             const Shard& shard = {});
  /// Uploads masks and zeroes gradients. The result refers to buffers of this object
  /// and is valid until the next call.
  const ActiveWidths<T>& set(const ExecutionSpace& exec, const Probabilities& pi);
  /// dL/dpi after the model's backward pass: all terms of the model, not those of the budget loss.
  /// With several tensor-parallel ranks, the sum over ranks is meant; terms that every rank holds
  /// in full (hidden, depth) are left to rank 0. Every term is rounded to a multiple of 2^-30, so
  /// that sums are exact in any order below 2^22.
  Probabilities gradient(const ExecutionSpace& exec) const;
  const std::vector<Decision>& decisions() const { return m_decisions; }
  /// Gradients of all masks, scales and gates, flat: sums over tokens, to be added up
  /// by those who share tokens out. The first num_shared_gradients() are the terms that
  /// every tensor-parallel rank holds.
  View1<Accumulate<T>> gradients() const { return m_gradients; }
  index_t num_shared_gradients() const { return m_num_shared; }

 private:
  /// Places of one layer: decisions that concern it (-1: none) and offsets into the flat buffers.
  struct LayerPlace {
    index_t width_decision = -1, channel_decision = -1, drop_place = -1;
    index_t inner = 0, heads = 0, scale = 0, gamma = 0;
  };
  void assign_decisions();
  void set_hidden();
  void set_layer(index_t l);
  void set_masks(index_t l);
  SoftMask<T> mask_at(index_t offset, const std::vector<double>& values);
  View1<Accumulate<T>> gradients_at(index_t offset, index_t count = 1) const;
  void add_gate_gradient(index_t l, Probabilities& dpi) const;
  void add_layer_gradient(index_t l, Probabilities& dpi) const;

  ModelShape m_parent;
  ElasticSpace m_space;
  Shard m_shard;
  std::vector<Decision> m_decisions;
  double m_epsilon_choice;
  index_t m_hidden_decision = -1, m_depth_decision = -1;
  index_t m_hidden_offset = 0, m_norm_offset = 0, m_num_shared = 0;
  std::vector<LayerPlace> m_layers;
  View1<Accumulate<T>> m_values,
      m_gradients;  // all masks of the model, and all gradients, at the same offsets
  HostView1<Accumulate<T>> m_host_values, m_host_gradients;
  Probabilities m_pi;  // small ones dropped, renormalised
  ActiveWidths<T> m_active;
};

}  // namespace elastic
