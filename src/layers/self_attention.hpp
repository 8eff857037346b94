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
  using typename Layer<T>::Cache;
  SelfAttention(const ModelShape& shape, index_t index, ParameterStore<T>& store);

  std::unique_ptr<Saved> make_saved() const override;
  std::unique_ptr<Cache> make_cache(const LayerActive<T>& active, index_t batch, index_t max_length,
                                    index_t history) const override;
  std::unique_ptr<Cache> narrow_cache(const LayerContext& context, const LayerActive<T>& from,
                                      const LayerActive<T>& to, Cache& wider) const override;
  void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               View2<T> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                View2<const T> u, const Saved& saved, View2<T> du) const override;
  void extend(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
              index_t position, Cache& cache, View2<T> y) const override;
  View2<const T> importance_activations(const Saved& saved) const override;

 private:
  struct AttentionSaved : Saved {
    View2<T> q, k, v;  // [T, A*C], [T, R*C]
    View2<T> heads;    // [T, A*C] output of the heads
    View2<T> masked;   // [T, A*C] m (.) heads; the same as heads without a mask
    View2<T> lse;      // [T, A]
  };
  struct KvCache : Cache {
    View2<T> k, v;  // [B*max_length, R*C]
    index_t max_length = 0;
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
