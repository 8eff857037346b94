// SPDX-License-Identifier: Apache-2.0
// What a layer computes in one forward pass: extents of the prefix, and soft masks on it where the
// router explores.
//
// Three ways to the same numbers: `prefix_widths` (hard: exact extents, no masks), `masked_widths`
// (full extents and 0/1 masks, as the public reference computes; for tests), and SoftWidths (soft
// masks up to the widest choice with non-zero probability).
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

/// mean_width, epsilon and scale of a norm over masked channels (kernels/rows/rmsnorm.hpp), and d loss /
/// d scale: [1], or the part of each group [G] of Mamba's gated norm (empty: not wanted).
template <class T>
struct NormWidths {
  kernels::RmsNormParams params;
  View1<Accumulate<T>> dscale;
};

template <class T>
struct LayerActive {
  bool active = true;                    ///< false: the layer is skipped altogether
  Accumulate<T> gamma = 1;               ///< depth gate
  View1<Accumulate<T>> dgamma;           ///< [1] or empty
  index_t width = 0, head_channels = 1;  ///< computed extents
  SoftMask<T> inner;  ///< Mamba [width*head_channels] on z, x and conv; attention [width] on head
                      ///< outputs; MLP [width] before the activation
  SoftMask<T> heads;  ///< Mamba only: [width] on dt
  NormWidths<T> gated_norm;  ///< Mamba only: per-group norm
};

template <class T>
struct ActiveWidths {
  index_t hidden = 0;       ///< computed hidden extent
  SoftMask<T> hidden_mask;  ///< [hidden] on the input of each norm and on each layer's output
  NormWidths<T> norm;       ///< of all norms over the hidden dimension
  std::vector<LayerActive<T>> layers;
};

/// Exact extents of a submodel; dropped layers inactive.
template <class T>
ActiveWidths<T> prefix_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              const Shard& shard = {});
/// Full extents, 0/1 masks, corrected norms, gamma 0 or 1 with every layer active; mask gradients
/// are kept where `with_gradients`.
template <class T>
ActiveWidths<T> masked_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              bool with_gradients = false, const Shard& shard = {});

/// Probabilities of all decisions: one list per decision.
using Probabilities = std::vector<std::vector<double>>;

/// Masks from probabilities, and the gradient back to them.
///   m_j = sum_i pi_i [j < width_i],  rho_i = width_i / full,  gamma_l = P(layer l is kept)
///   epsilon' = epsilon sum_i pi_i rho_i (no gradient),  scale = sum_i pi_i sqrt(rho_i)
///   dL/dpi_i = sum_{j < width_i} dL/dm_j + sqrt(rho_i) dL/dscale
///
/// Choices with pi_i < epsilon_choice are dropped and the rest renormalised (the dropped ones get
/// no gradient, and the renormalisation, a factor within (number of choices) * epsilon_choice of 1,
/// is taken as constant); extents reach to the widest choice left; a decision with one choice left
/// is hard (no mask) unless another axis of the same mask is soft. Mamba's inner mask is the
/// product of head and channel masks. The mean width stays that of the parent (mean over D, or E/G)
/// while soft, and becomes the exact one when hard.
template <class T>
class SoftWidths {
 public:
  SoftWidths(const ModelShape& parent, const ElasticSpace& space, double epsilon_choice = 1e-3,
             const Shard& shard = {});
  /// Uploads masks and zeroes gradients. The result refers to buffers of this object and is valid
  /// until the next call.
  const ActiveWidths<T>& set(const ExecutionSpace& exec, const Probabilities& pi);
  /// dL/dpi after the model's backward pass, all terms of the model (not of the budget loss); of
  /// several tensor-parallel ranks, the sum over ranks is meant. Terms that every rank holds in
  /// full (hidden, depth) are left to rank 0. Every term is rounded to a multiple of 2^-30, so that
  /// sums are exact in any order below 2^22.
  Probabilities gradient(const ExecutionSpace& exec) const;
  const std::vector<Decision>& decisions() const { return m_decisions; }
  /// Of all masks, scales and gates, flat: sums over tokens, to be added up by those who share
  /// tokens out. The first of them are the terms that every tensor-parallel rank holds.
  View1<Accumulate<T>> gradients() const { return m_gradients; }
  index_t num_shared_gradients() const { return m_num_shared; }

 private:
  /// Of one layer: decisions that concern it (-1: none) and offsets into the flat buffers.
  struct LayerPlace {
    index_t width_decision = -1, channel_decision = -1, drop_rank = -1;
    index_t inner = 0, heads = 0, scale = 0, gamma = 0;
  };
  void assign_decisions();
  void set_hidden();
  void set_layer(index_t l);
  void set_mamba(index_t l);
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
