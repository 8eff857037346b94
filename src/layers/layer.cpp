// SPDX-License-Identifier: Apache-2.0
#include "layers/layer.hpp"

#include <map>

#include "arch/layer_kind.hpp"
#include "layers/mamba_mixer.hpp"
#include "layers/mlp.hpp"
#include "layers/self_attention.hpp"

namespace elastic {
namespace {

template <class T, template <class> class Mixer>
std::unique_ptr<Layer<T>> make(const ModelShape& shape, index_t index, ParameterStore<T>& store) {
  return std::make_unique<Mixer<T>>(shape, index, store);
}

template <class T>
std::map<LayerKind, LayerFactory<T>>& factories() {
  static std::map<LayerKind, LayerFactory<T>> all = {{LayerKind::mamba, make<T, MambaMixer>},
                                                     {LayerKind::attention, make<T, SelfAttention>},
                                                     {LayerKind::mlp, make<T, Mlp>}};
  return all;
}

}  // namespace

template <class T>
std::unique_ptr<Layer<T>> make_layer(const ModelShape& shape, index_t index,
                                     ParameterStore<T>& store) {
  const auto& layer = shape.layers.at(static_cast<std::size_t>(index));
  const auto factory = factories<T>().find(layer.kind);
  ELASTIC_REQUIRE(factory != factories<T>().end(), "layer {}: no class computes the kind '{}'",
                  index, layer.symbol());
  return factory->second(shape, index, store);
}

template <class T>
void add_layer_factory(LayerKind kind, LayerFactory<T> factory) {
  ELASTIC_REQUIRE(factories<T>().emplace(kind, factory).second, "the kind '{}' has a factory",
                  static_cast<char>(kind));
}

template <class T>
void declare_tensors(const ModelShape& shape, index_t index, ParameterStore<T>& store,
                     std::initializer_list<index_t*> members) {
  const auto tensors = layer_tensors(shape, index);
  ELASTIC_REQUIRE(tensors.size() == members.size(), "layer {}: {} tensors for {} members", index,
                  tensors.size(), members.size());
  auto member = members.begin();
  for (const auto& tensor : tensors) **member++ = store.add(tensor);
}

#define ELASTIC_INSTANTIATE(T)                                                                   \
  template std::unique_ptr<Layer<T>> make_layer(const ModelShape&, index_t, ParameterStore<T>&); \
  template void add_layer_factory(LayerKind, LayerFactory<T>);                                   \
  template void declare_tensors(const ModelShape&, index_t, ParameterStore<T>&,                  \
                                std::initializer_list<index_t*>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
