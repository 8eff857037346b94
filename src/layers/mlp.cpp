// SPDX-License-Identifier: Apache-2.0
#include "layers/mlp.hpp"

#include "kernels/rows/squared_relu.hpp"
#include "layers/generation.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class T>
Mlp<T>::Mlp(const ModelShape& shape, index_t index, ParameterStore<T>& store) : m_store(store) {
  declare_tensors(shape, index, store, {&m_up, &m_down});
}

template <class T>
auto Mlp<T>::make_saved() const -> std::unique_ptr<Saved> {
  return std::make_unique<MlpSaved>();
}
template <class T>
std::unique_ptr<GenerationLayer<T>> Mlp<T>::for_generation() const {
  return std::make_unique<PositionwiseGeneration<T>>(*this);
}

template <class T>
void Mlp<T>::forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
                     View2<Accumulate<T>> y, Saved& saved_base) const {
  auto& saved = static_cast<MlpSaved&>(saved_base);
  const index_t tokens = u.extent_int(0), ffn = active.width;
  saved.hidden = context.arena->matrix<T>(tokens, ffn);
  saved.activated = context.arena->matrix<T>(tokens, ffn);
  linear_forward<T>(context.products(), u, m_store[m_up].value, UnitRows::prefix(ffn),
                    saved.hidden);
  kernels::squared_relu_forward<T>(context.exec, saved.hidden, active.inner.value, saved.activated);
  linear_of_units<T>(context, m_store.shard(), saved.activated, m_store[m_down].value,
                     UnitRows::units(ffn), y);
}

template <class T>
void Mlp<T>::backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                      View2<const T> u, const Saved& saved_base, View2<Accumulate<T>> du) const {
  const auto& saved = static_cast<const MlpSaved&>(saved_base);
  const Arena::Scope scope(*context.arena);
  const auto dhidden = context.arena->matrix<T>(u.extent_int(0), active.width);
  const auto &up = m_store[m_up], &down = m_store[m_down];
  const auto units = UnitRows::prefix(active.width);
  for_each_block(context, [&](const TokenBlock& block) {
    const auto dhidden_ = block.of(dhidden);
    linear_units_input_backward<T>(context.products(), block.of(dy), block.of(saved.activated),
                                   down.value, down.gradient, units, dhidden_);
    kernels::squared_relu_backward<T>(context.exec, dhidden_, block.of(saved.hidden),
                                      active.inner.value, dhidden_, active.inner.gradient);
    linear_weight_gradient<T>(context.products(), dhidden_, block.of(u), up.gradient, units);
    close_block<T>(context, {up.gradient_vector(), down.gradient_vector(), active.inner.gradient});
  });
  UnitSum<T> sum(context, m_store.shard(), du);
  sum.add_rows(dhidden, up.value, UnitRows::units(active.width));
  sum.finish();
}

template <class T>
View2<const T> Mlp<T>::importance_activations(const Saved& saved, UnitActivations which) const {
  const auto& kept = static_cast<const MlpSaved&>(saved);
  return which == UnitActivations::outputs ? kept.activated : kept.hidden;
}

template class Mlp<bfloat16>;
template class Mlp<float>;
template class Mlp<double>;

}  // namespace elastic
