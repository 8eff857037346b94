// SPDX-License-Identifier: Apache-2.0
#include "model/hybrid_stack.hpp"

#include "kernels/rows/residual_add.hpp"

namespace elastic {

template <class T>
HybridStack<T>::HybridStack(const ModelShape& shape, const TensorParallel& parallel,
                            ParameterStore<T>& store)
    : m_parallel(parallel), m_store(store) {
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    m_norms.push_back(store.add({.name = fmt::format("layers.{}.norm.weight", l),
                                 .rows = 1,
                                 .columns = shape.hidden_size,
                                 .column_dim = Dim::hidden,
                                 .layer = l,
                                 .weight_decay = false,
                                 .vector = true,
                                 .initial = InitialLaw::ones}));
    m_layers.push_back(make_layer<T>(shape, l, store));
  }
}

template <class T>
std::vector<StackEntry<T>> HybridStack<T>::make_entries() const {
  std::vector<StackEntry<T>> entries(m_layers.size());
  for (std::size_t l = 0; l < entries.size(); ++l) entries[l].saved = m_layers[l]->make_saved();
  return entries;
}

template <class T>
void HybridStack<T>::forward_layer(const LayerContext& context, const ActiveWidths<T>& widths,
                                   std::size_t l, StackEntry<T>& entry,
                                   View2<Accumulate<T>> partial) const {
  Arena& arena = *context.arena;
  const index_t tokens = entry.input.extent_int(0);
  entry.normed = arena.matrix<T>(tokens, widths.hidden);
  if (partial.size() == 0)
    partial = arena.matrix<Accumulate<T>>(context.num_tokens(), widths.hidden);
  entry.rstd = arena.vector<Accumulate<T>>(tokens);
  const auto weight = prefix(m_store[m_norms[l]].value_vector(), widths.hidden);
  kernels::rmsnorm_forward<T>(context.exec, {entry.input, weight, widths.hidden_mask.value},
                              widths.norm.params, entry.normed, entry.rstd);
  entry.mixed = m_parallel.gather(arena, entry.normed, context.num_tokens());
  m_layers[l]->forward(context, widths.layers[l], entry.mixed, partial, *entry.saved);
  entry.output = m_parallel.template sum<T>(arena, partial);
}

template <class T>
void HybridStack<T>::forward(const LayerContext& context, const ActiveWidths<T>& widths, Keep keep,
                             const View2<T>& h, std::vector<StackEntry<T>>& entries,
                             const StackObserver<T>& observer) const {
  const auto start = context.arena->mark();
  // A sum that is not the output itself is needed no longer than its layer.
  View2<Accumulate<T>> partial;
  if constexpr (!std::is_same_v<T, Accumulate<T>>)
    partial = context.arena->matrix<Accumulate<T>>(context.num_tokens(), widths.hidden);
  // Where inputs are kept, the stream goes from one memory to the next, at last back to h.
  const auto kept = [&] { return context.arena->matrix<T>(h.extent_int(0), widths.hidden); };
  auto left = keep == Keep::nothing ? 0 : num_active(widths);
  View2<T> stream = left > 0 ? kept() : h;
  if (left > 0) Kokkos::deep_copy(context.exec, stream, h);
  for (std::size_t l = 0; l < m_layers.size(); ++l) {
    const auto& active = widths.layers[l];
    if (!active.active) continue;
    auto& entry = entries[l];
    entry.input = stream;
    stream = --left > 0 ? kept() : h;
    const auto mark = context.arena->mark();
    forward_layer(context, widths, l, entry, partial);
    if (observer) observer(static_cast<index_t>(l), entry);
    kernels::residual_add_forward<T>(context.exec, entry.input, entry.output,
                                     widths.hidden_mask.value, active.gamma, stream);
    if (keep != Keep::everything || entry.recomputed) context.arena->release(mark);
  }
  if (keep == Keep::nothing) context.arena->release(start);
}

template <class T>
void HybridStack<T>::forward_some(const LayerContext& context, const ActiveWidths<T>& widths,
                                  const std::vector<index_t>& layers, const View2<T>& h) const {
  for (const index_t number : layers) {
    const auto l = static_cast<std::size_t>(number);
    const Arena::Scope scope(*context.arena);
    StackEntry<T> entry;
    entry.input = h;
    entry.saved = m_layers[l]->make_saved();
    forward_layer(context, widths, l, entry);
    kernels::residual_add_forward<T>(context.exec, entry.output, widths.hidden_mask.value,
                                     widths.layers[l].gamma, h);
  }
}

template <class T>
void HybridStack<T>::backward_layer(const LayerContext& context, const ActiveWidths<T>& widths,
                                    std::size_t l, const StackEntry<T>& entry,
                                    const View2<T>& dh) const {
  Arena& arena = *context.arena;
  const auto& active = widths.layers[l];
  const index_t tokens = dh.extent_int(0);
  const bool is_plain = joins_unchanged(widths, active);  // then the output's gradient is dh
  const auto own = arena.matrix<T>(tokens, widths.hidden), doutput = is_plain ? dh : own;
  const auto dmixed = arena.matrix<Accumulate<T>>(context.num_tokens(), widths.hidden);
  const auto blocks = m_parallel.my_blocks(context.num_tokens(), context.num_blocks());
  for (const Range& block : is_plain ? std::vector<Range>() : blocks) {
    const auto rows_of = [&](const View2<T>& all) { return rows(all, block.first, block.second); };
    kernels::residual_add_backward<T>(context.exec, rows_of(dh), rows_of(entry.output),
                                      widths.hidden_mask.value, active.gamma, rows_of(doutput),
                                      widths.hidden_mask.gradient, active.dgamma);
    close_block<T>(context, {widths.hidden_mask.gradient, active.dgamma});
  }
  m_layers[l]->backward(context, active, m_parallel.gather(arena, doutput, context.num_tokens()),
                        entry.mixed, *entry.saved, dmixed);
  const auto dnormed = m_parallel.template sum<T>(arena, dmixed);
  const auto& norm = m_store[m_norms[l]];
  const auto workspace =
      arena.vector<Accumulate<T>>(kernels::rmsnorm_workspace_size(tokens, widths.hidden));
  for (const Range& block : blocks) {
    const auto rows_of = [&](const View2<T>& all) { return rows(all, block.first, block.second); };
    kernels::rmsnorm_backward<T>(context.exec,
                                 {rows_of(entry.input), prefix(norm.value_vector(), widths.hidden),
                                  widths.hidden_mask.value},
                                 widths.norm.params, Kokkos::subview(entry.rstd, block),
                                 rows_of(dnormed),
                                 {rows_of(dh), prefix(norm.gradient_vector(), widths.hidden),
                                  widths.hidden_mask.gradient, widths.norm.dscale},
                                 workspace);
    close_block<T>(context,
                   {norm.gradient_vector(), widths.hidden_mask.gradient, widths.norm.dscale});
  }
}

template <class T>
void HybridStack<T>::backward(const LayerContext& context, const ActiveWidths<T>& widths, Keep keep,
                              const View2<T>& dh, std::vector<StackEntry<T>>& entries,
                              const GradientsComplete& complete) const {
  ELASTIC_REQUIRE(keep != Keep::nothing, "backward needs a forward pass that kept its activations");
  for (std::size_t l = m_layers.size(); l-- > 0;) {
    if (!widths.layers[l].active) continue;
    const Arena::Scope scope(*context.arena);
    if (keep == Keep::inputs || entries[l].recomputed)
      forward_layer(context, widths, l, entries[l]);
    backward_layer(context, widths, l, entries[l], dh);
    if (complete) complete(m_store[m_norms[l]].offset);
  }
}

template class HybridStack<bfloat16>;
template class HybridStack<float>;
template class HybridStack<double>;

}  // namespace elastic
