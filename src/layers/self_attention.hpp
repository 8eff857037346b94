// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention without positions: y = W_o (m (.) attention(W_q u, W_k u, W_v u)),
// elastic in query heads.
//
// The mask acts on whole heads' outputs (a masked q would still attend, evenly); KV heads are kept.
#pragma once
#include "kernels/attention.hpp"
#include "layers/layer.hpp"

namespace elastic {

template <class S>
class SelfAttention final : public Layer<S> {
 public:
  using typename Layer<S>::Saved;
  using typename Layer<S>::Cache;
  SelfAttention(const ModelShape& shape, index_t index, ParameterStore<S>& store);

  std::unique_ptr<Saved> make_saved() const override;
  std::unique_ptr<Cache> make_cache(const LayerActive<S>& active, index_t batch, index_t max_length,
                                    index_t history) const override;
  std::unique_ptr<Cache> narrow_cache(const LayerContext& context, const LayerActive<S>& from,
                                      const LayerActive<S>& to, Cache& wider) const override;
  void forward(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
               View2<S> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<S>& active, View2<const S> dy,
                View2<const S> u, const Saved& saved, View2<S> du) const override;
  void extend(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
              index_t position, Cache& cache, View2<S> y) const override;
  View2<const S> importance_activations(const Saved& saved) const override;

 private:
  struct AttentionSaved : Saved {
    View2<S> q, k, v;  // [T, A*C], [T, R*C]
    View2<S> heads;    // [T, A*C] output of the heads
    View2<S> masked;   // [T, A*C] m (.) heads; the same as heads without a mask
    View2<S> lse;      // [T, A]
  };
  struct KvCache : Cache {
    View2<S> k, v;  // [B*max_length, R*C]
    index_t max_length = 0;
  };
  /// Of the queries of one of the spans here, or of all.
  kernels::AttentionShape shape_of(const LayerContext& context, const LayerActive<S>& active,
                                   index_t span = 0) const;
  void attend(const LayerContext& context, const LayerActive<S>& active,
              const AttentionSaved& saved) const;
  /// [in] dheads [T, A*C]; [out] dq [T, A*C], dk, dv [T, R*C].
  void attend_backward(const LayerContext& context, const LayerActive<S>& active,
                       View2<const S> dheads, const AttentionSaved& saved, const View2<S>& dq,
                       const View2<S>& dk, const View2<S>& dv) const;

  const ParameterStore<S>& m_store;
  index_t m_groups, m_channels;  // R of this rank, C
  index_t m_q, m_k, m_v, m_o;    // [A*C, D], [R*C, D] twice, [D, A*C]
};

}  // namespace elastic
