// SPDX-License-Identifier: Apache-2.0
#include "model/stack_decoder.hpp"

#include <algorithm>

#include "kernels/rows/residual_add.hpp"
#include "kernels/rows/rmsnorm.hpp"

namespace elastic {

template <class T>
bool fits_into(const ActiveWidths<T>& inner, const ActiveWidths<T>& outer) {
  const auto layer_fits = [](const LayerActive<T>& a, const LayerActive<T>& b) {
    return !a.active || (b.active && a.width <= b.width && a.head_channels <= b.head_channels);
  };
  return inner.hidden <= outer.hidden &&
         std::equal(inner.layers.begin(), inner.layers.end(), outer.layers.begin(),
                    outer.layers.end(), layer_fits);
}

template <class T>
StackDecoder<T>::StackDecoder(const HybridStack<T>& stack, const ActiveWidths<T>& widths,
                              index_t batch, index_t max_length, index_t history)
    : m_stack(stack), m_widths(widths) {
  for (index_t l = 0; l < stack.num_layers(); ++l) {
    const auto& active = widths.layers[static_cast<std::size_t>(l)];
    m_layers.push_back(stack.layer(l).for_generation());
    m_caches.push_back(
        active.active ? m_layers.back()->make_cache(active, batch, max_length, history) : nullptr);
  }
}

template <class T>
StackDecoder<T>::StackDecoder(StackDecoder&& wider, const LayerContext& context,
                              const ActiveWidths<T>& narrower)
    : m_stack(wider.m_stack), m_widths(narrower), m_layers(std::move(wider.m_layers)) {
  ELASTIC_REQUIRE(fits_into(narrower, wider.m_widths), "caches cannot be cut to wider layers");
  for (std::size_t l = 0; l < m_layers.size(); ++l)
    m_caches.push_back(narrower.layers[l].active
                           ? m_layers[l]->narrow_cache(context, wider.m_widths.layers[l],
                                                       narrower.layers[l], *wider.m_caches[l])
                           : nullptr);
}

template <class T>
void StackDecoder<T>::extend(const LayerContext& context, index_t position,
                             const View2<T>& h) const {
  const Arena::Scope scope(*context.arena);
  const index_t tokens = context.num_tokens(), width = m_widths.hidden;
  const auto normed = context.arena->matrix<T>(tokens, width);
  const auto partial = context.arena->matrix<Accumulate<T>>(tokens, width);
  const auto rstd = context.arena->vector<Accumulate<T>>(tokens);
  for (std::size_t l = 0; l < m_layers.size(); ++l) {
    const auto& active = m_widths.layers[l];
    if (!active.active) continue;
    const auto& norm = m_stack.norm(static_cast<index_t>(l));
    kernels::rmsnorm_forward<T>(context.exec, {h, prefix(norm.value_vector(), width)},
                                m_widths.norm.params, normed, rstd);
    m_layers[l]->extend(context, active, normed, position, *m_caches[l], partial);
    const Arena::Scope layer_scope(*context.arena);
    const auto output = m_stack.parallel().template sum_all<T>(*context.arena, partial);
    kernels::residual_add_forward<T>(context.exec, output, {}, active.gamma, h);
  }
}

#define ELASTIC_INSTANTIATE(T)                                                \
  template bool fits_into<T>(const ActiveWidths<T>&, const ActiveWidths<T>&); \
  template class StackDecoder<T>;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
