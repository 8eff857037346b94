// SPDX-License-Identifier: Apache-2.0
// Squared-ReLU MLP without gate or bias: y = W_down relu(m (.) W_up u)^2, elastic in F.
#pragma once
#include "layers/layer.hpp"

namespace elastic {

template <class S>
class Mlp final : public Layer<S> {
 public:
  using typename Layer<S>::Saved;
  using typename Layer<S>::Cache;
  Mlp(const ModelShape& shape, index_t index, ParameterStore<S>& store);

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
  struct MlpSaved : Saved {
    View2<S> hidden;     // [T, F] W_up u
    View2<S> activated;  // [T, F] relu(m hidden)^2
  };

  const ParameterStore<S>& m_store;
  index_t m_up;    // up_proj [F, D]
  index_t m_down;  // down_proj [D, F]
};

}  // namespace elastic
