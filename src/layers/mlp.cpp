// SPDX-License-Identifier: Apache-2.0
#include "layers/mlp.hpp"

#include "kernels/squared_relu.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class S>
Mlp<S>::Mlp(const ModelShape& shape, index_t index, ParameterStore<S>& store) : m_store(store) {
  const std::string name = fmt::format("layers.{}.mixer.", index);
  const index_t ffn = shape.extent(Dim::ffn, index);
  m_up = store.add({.name = name + "up_proj",
                    .rows = ffn,
                    .columns = shape.hidden_size,
                    .row_dim = Dim::ffn,
                    .column_dim = Dim::hidden,
                    .row_unit = 1,
                    .layer = index});
  m_down = store.add({.name = name + "down_proj",
                      .rows = shape.hidden_size,
                      .columns = ffn,
                      .row_dim = Dim::hidden,
                      .column_dim = Dim::ffn,
                      .column_unit = 1,
                      .layer = index});
}

template <class S>
std::unique_ptr<typename Layer<S>::Saved> Mlp<S>::make_saved() const {
  return std::make_unique<MlpSaved>();
}
template <class S>
std::unique_ptr<typename Layer<S>::Cache> Mlp<S>::make_cache(const LayerActive<S>&, index_t,
                                                             index_t, index_t) const {
  return std::make_unique<Cache>();
}
template <class S>
std::unique_ptr<typename Layer<S>::Cache> Mlp<S>::narrow_cache(const LayerContext&,
                                                               const LayerActive<S>&,
                                                               const LayerActive<S>&,
                                                               Cache&) const {
  return std::make_unique<Cache>();
}

template <class S>
void Mlp<S>::forward(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
                     View2<S> y, Saved& saved_base) const {
  auto& saved = static_cast<MlpSaved&>(saved_base);
  const index_t tokens = u.extent_int(0), ffn = active.width;
  saved.hidden = context.arena->matrix<S>(tokens, ffn);
  saved.activated = context.arena->matrix<S>(tokens, ffn);
  linear_forward<S>(context.exec, u, m_store[m_up].value, Blocks::prefix(ffn), saved.hidden);
  kernels::squared_relu_forward<S>(context.exec, saved.hidden, active.inner.value, saved.activated);
  linear_of_units<S>(context, m_store.shard(), saved.activated, m_store[m_down].value,
                     Blocks::units(ffn), y);
}

template <class S>
void Mlp<S>::backward(const LayerContext& context, const LayerActive<S>& active, View2<const S> dy,
                      View2<const S> u, const Saved& saved_base, View2<S> du) const {
  const auto& saved = static_cast<const MlpSaved&>(saved_base);
  const Arena::Scope scope(*context.arena);
  const auto dhidden = context.arena->matrix<S>(u.extent_int(0), active.width);
  const auto &up = m_store[m_up], &down = m_store[m_down];
  const auto units = Blocks::prefix(active.width);
  for_each_block(context, [&](const Block& block) {
    const auto dhidden_ = block.of(dhidden);
    linear_blocked_input_backward<S>(context.exec, block.of(dy), block.of(saved.activated),
                                     down.value, down.gradient, units, dhidden_);
    kernels::squared_relu_backward<S>(context.exec, dhidden_, block.of(saved.hidden),
                                      active.inner.value, dhidden_, active.inner.gradient);
    linear_weight_gradient<S>(context.exec, dhidden_, block.of(u), up.gradient, units);
    close_block<S>(context, {up.gradient_vector(), down.gradient_vector(), active.inner.gradient});
  });
  UnitSum<S> sum(context, m_store.shard(), du);
  sum.add_rows(dhidden, up.value, Blocks::units(active.width));
  sum.finish();
}

template <class S>
void Mlp<S>::extend(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
                    index_t, Cache&, View2<S> y) const {
  const Arena::Scope scope(*context.arena);
  MlpSaved saved;
  forward(context, active, u, y, saved);
}

template <class S>
View2<const S> Mlp<S>::importance_activations(const Saved& saved) const {
  return static_cast<const MlpSaved&>(saved).hidden;
}

template class Mlp<float>;
template class Mlp<double>;

}  // namespace elastic
