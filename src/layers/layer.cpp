// SPDX-License-Identifier: Apache-2.0
#include "layers/layer.hpp"

#include "layers/mamba_mixer.hpp"
#include "layers/mlp.hpp"
#include "layers/self_attention.hpp"

namespace elastic {

template <class T>
std::unique_ptr<Layer<T>> make_layer(const ModelShape& shape, index_t index,
                                     ParameterStore<T>& store) {
  switch (shape.layers[static_cast<std::size_t>(index)].kind) {
    case LayerKind::mamba:
      return std::make_unique<MambaMixer<T>>(shape, index, store);
    case LayerKind::attention:
      return std::make_unique<SelfAttention<T>>(shape, index, store);
    case LayerKind::mlp:
      return std::make_unique<Mlp<T>>(shape, index, store);
  }
  throw_contract(fmt::format("layer {} has no kind", index));
}

template std::unique_ptr<Layer<float>> make_layer(const ModelShape&, index_t,
                                                  ParameterStore<float>&);
template std::unique_ptr<Layer<double>> make_layer(const ModelShape&, index_t,
                                                   ParameterStore<double>&);

}  // namespace elastic
