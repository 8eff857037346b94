// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention without positions, elastic in query heads.
//
//   y = W_o (m (.) attention(W_q u, W_k u, W_v u))
//
// The mask acts on whole heads' outputs (a masked q would still attend, evenly); KV heads are kept.
#pragma once
#include "kernels/attention/attention.hpp"
#include "layers/layer.hpp"

namespace elastic {

template <class T>
class SelfAttention final : public Layer<T> {
 public:
  using typename Layer<T>::Saved;
  SelfAttention(const ModelShape& shape, index_t index, ParameterStore<T>& store);

  std::unique_ptr<Saved> make_saved() const override;
  void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               View2<Accumulate<T>> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                View2<const T> u, const Saved& saved, View2<Accumulate<T>> du) const override;
  View2<const T> importance_activations(const Saved& saved, UnitActivations which) const override;
  std::unique_ptr<GenerationLayer<T>> for_generation() const override;

 private:
  class Generation;  // self_attention_generation.cpp
  struct AttentionSaved : Saved {
    View2<T> q, k, v;          // [T, A*C], [T, R*C]
    View2<T> heads;            // [T, A*C] output of the heads
    View2<T> masked;           // [T, A*C] m (.) heads; the same as heads without a mask
    View2<Accumulate<T>> lse;  // [T, A]
  };
  /// Shape of the attention of the queries of one of the spans here, or of all.
  kernels::AttentionShape shape_of(const LayerContext& context, const LayerActive<T>& active,
                                   index_t span = 0) const;
  void attend(const LayerContext& context, const LayerActive<T>& active,
              const AttentionSaved& saved) const;
  /// [in] dheads [T, A*C]; [out] dq [T, A*C], dk, dv [T, R*C].
  void attend_backward(const LayerContext& context, const LayerActive<T>& active,
                       View2<const T> dheads, const AttentionSaved& saved, const View2<T>& dq,
                       const View2<T>& dk, const View2<T>& dv) const;

  const ParameterStore<T>& m_store;
  index_t m_groups, m_channels;  // R of this rank, C
  index_t m_q, m_k, m_v, m_o;    // [A*C, D], [R*C, D] twice, [D, A*C]
};

}  // namespace elastic
