// SPDX-License-Identifier: Apache-2.0
// Squared-ReLU MLP without gate or bias: y = W_down relu(m (.) W_up u)^2, elastic in F.
#pragma once
#include "layers/layer.hpp"

namespace elastic {

template <class T>
class Mlp final : public Layer<T> {
 public:
  using typename Layer<T>::Saved;
  Mlp(const ModelShape& shape, index_t index, ParameterStore<T>& store);

  std::unique_ptr<Saved> make_saved() const override;
  void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               View2<Accumulate<T>> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                View2<const T> u, const Saved& saved, View2<Accumulate<T>> du) const override;
  View2<const T> importance_activations(const Saved& saved, UnitActivations which) const override;
  std::unique_ptr<GenerationLayer<T>> for_generation() const override;

 private:
  struct MlpSaved : Saved {
    View2<T> hidden;     // [T, F] W_up u
    View2<T> activated;  // [T, F] relu(m hidden)^2
  };

  const ParameterStore<T>& m_store;
  index_t m_up;    // up_proj [F, D]
  index_t m_down;  // down_proj [D, F]
};

}  // namespace elastic
