// SPDX-License-Identifier: Apache-2.0
// Masks from a draw of the router, and the gradient back to it (derivation:
// doc/equations/soft_masks.md). With pi' the draw without its small choices (kept_choices.hpp):
//
//   m_j       = sum_i pi'_i [j < width_i]
//   rho_i     = width_i / full
//   gamma_l   = P(layer l is kept)
//   epsilon'  = epsilon sum_i pi'_i rho_i      no gradient
//   scale     = sum_i pi'_i sqrt(rho_i)
//   dL/dpi'_i = sum_{j < width_i} dL/dm_j + sqrt(rho_i) dL/dscale
//
// Extents reach to the widest choice left. A decision with one choice left is hard (no mask) unless
// another axis of its mask is soft. Mamba's inner mask is the product of head and channel masks.
// The mean width stays that of the parent (mean over D, or E/G) while soft, and becomes the exact
// one when hard.
//
// In a straight-through draw, masks, norms and gates are those of one submodel (0 or 1), while
// extents, and with them gradients, reach to the widest choice whose soft probability is kept: the
// numbers are those of the submodel within rounding, and its neighbours get gradients.
#pragma once
#include "base/readback.hpp"
#include "elastic/active_widths.hpp"
#include "elastic/kept_choices.hpp"
#include "kernels/masks/soft_mask.hpp"

namespace elastic {

template <class T>
class SoftWidths {
 public:
  SoftWidths(const ModelShape& parent, const ElasticSpace& space, double epsilon_choice = 1e-3,
             const Shard& shard = {});
  /// Forms masks on the device and zeroes gradients; does not wait. The result refers to buffers of
  /// this object and is valid until the next call.
  const ActiveWidths<T>& set(const ExecutionSpace& exec, const RouterDraw& draw);
  const ActiveWidths<T>& set(const ExecutionSpace& exec, const Probabilities& pi) {
    return set(exec, RouterDraw{pi, pi});
  }
  /// What the masks of the last set() are: pi', or a one-hot. The budget loss takes it.
  const Probabilities& mixture() const { return m_kept.value; }
  /// What a backward pass gave: sums over steps of all masks, on their way to the host, and what
  /// they belong to.
  struct Reduced {
    ActiveWidths<T> active;
    KeptChoices kept;
    View1<double> numbers;
  };
  /// Sums up the gradients of masks, scales and gates on the device; does not wait. After it, set()
  /// may follow.
  Reduced reduce(const ExecutionSpace& exec, Readback& readback) const;
  /// dL/dpi' after the model's backward pass, once `readback` was read: all terms of the model, not
  /// those of the budget loss.
  /// With several tensor-parallel ranks, the sum over ranks is meant; terms that every rank holds
  /// in full (hidden, depth) are left to rank 0. Every term is rounded to a multiple of 2^-30, so
  /// that sums are exact in any order below 2^22.
  Probabilities gradient(const Reduced& reduced, const Readback& readback) const;
  /// The gradient of the last set() at once; allocates and waits.
  Probabilities gradient(const ExecutionSpace& exec) const;
  /// dL/dpi of the router's soft probabilities from the whole dL/dpi'.
  Probabilities through_draw(const Probabilities& dmixture) const {
    return keep_choices_backward(m_kept, dmixture);
  }
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
  void set_hidden(const ExecutionSpace& exec);
  void set_layer(const ExecutionSpace& exec, index_t l);
  void set_masks(const ExecutionSpace& exec, index_t l);
  SoftMask<T> mask_at(index_t offset, index_t count) const;
  SoftMask<T> form_mask(const ExecutionSpace& exec, index_t offset,
                        const std::vector<kernels::MaskSteps>& units,
                        const kernels::MaskSteps& channels = kernels::single_channel()) const;
  View1<Accumulate<T>> gradients_at(index_t offset, index_t count = 1) const;

  struct LayerMixtures;
  LayerMixtures mixtures_of(const KeptChoices& kept, index_t l) const;
  template <class Hidden, class OfLayer>
  void for_each_mask(const ActiveWidths<T>& active, const KeptChoices& kept, const Hidden& hidden,
                     const OfLayer& of_layer) const;
  /// Numbers that are handed out from the front.
  struct NumberPart {
    View1<double> left;
    View1<double> next(index_t count) {
      const auto part = prefix(left, count);
      left = Kokkos::subview(left, Range(count, left.extent_int(0)));
      return part;
    }
  };
  void reduce_mask(const ExecutionSpace& exec, const std::vector<kernels::MaskSteps>& units,
                   const kernels::MaskSteps& channels, const SoftMask<T>& mask,
                   const SoftMask<T>& of_units, NumberPart& part) const;
  void add_gate_gradient(const Reduced& reduced, index_t l, const double* scalars,
                         Probabilities& dpi) const;
  void add_layer_gradient(const Reduced& reduced, index_t l, const LayerMixtures& layer,
                          const double* scalars, const double*& next, Probabilities& dpi) const;

  ModelShape m_parent;
  ElasticSpace m_space;
  Shard m_shard;
  std::vector<Decision> m_decisions;
  double m_epsilon_choice;
  index_t m_hidden_decision = -1, m_depth_decision = -1;
  index_t m_hidden_offset = 0, m_norm_offset = 0, m_num_shared = 0;
  index_t m_scalars_end = 0;  // from m_norm_offset on: gradients of scales and gates
  std::vector<LayerPlace> m_layers;
  View1<Accumulate<T>> m_values,
      m_gradients;  // all masks of the model, and all gradients, at the same offsets
  KeptChoices m_kept;
  ActiveWidths<T> m_active;
};

}  // namespace elastic
