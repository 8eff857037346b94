// SPDX-License-Identifier: Apache-2.0
#include "layers/self_attention.hpp"

#include "kernels/rows/column_scale.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class T>
SelfAttention<T>::SelfAttention(const ModelShape& shape, index_t index, ParameterStore<T>& store)
    : m_store(store) {
  const LayerShape& layer = shape.layers[static_cast<std::size_t>(index)];
  m_groups = local_count(layer.num_groups, store.shard());
  m_channels = layer.head_channels;
  declare_tensors(shape, index, store, {&m_q, &m_k, &m_v, &m_o});
}

template <class T>
auto SelfAttention<T>::make_saved() const -> std::unique_ptr<Saved> {
  return std::make_unique<AttentionSaved>();
}
template <class T>
kernels::AttentionShape SelfAttention<T>::shape_of(const LayerContext& context,
                                                   const LayerActive<T>& active,
                                                   index_t span) const {
  kernels::AttentionShape shape{.batch = context.batch,
                                .seq_length = context.seq_length,
                                .num_heads = active.width,
                                .num_groups = m_groups,
                                .head_dim = m_channels};
  if (context.spans) {
    const SpanLayout& layout = context.spans->layout();
    shape.batch /= layout.num_here();
    shape.q_begin = layout.span(span) * context.seq_length;
    shape.kv_length = layout.num_spans * context.seq_length;
  }
  return shape;
}

template <class T>
void SelfAttention<T>::attend(const LayerContext& context, const LayerActive<T>& active,
                              const AttentionSaved& saved) const {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const index_t scores = kernels::attention_forward_workspace_size<T>(shape_of(context, active));
  const View1<Accumulate<T>> workspace =
      scores == 0 ? View1<Accumulate<T>>{} : arena.vector<Accumulate<T>>(scores);
  if (!context.spans)
    return kernels::attention_forward<T>(context.products(), shape_of(context, active),
                                         {saved.q, saved.k, saved.v, context.segment},
                                         {saved.heads, saved.lse}, workspace);
  const Spans& spans = *context.spans;
  const auto k = spans.whole(arena, saved.k), v = spans.whole(arena, saved.v);
  for (index_t i = 0; i < spans.num_here(); ++i) {
    const TokenBlock span{i, spans.num_here()};
    kernels::attention_forward<T>(context.products(), shape_of(context, active, i),
                                  {span.of(saved.q), k, v, spans.whole_segment()},
                                  {span.of(saved.heads), span.of(saved.lse)}, workspace);
  }
}

template <class T>
void SelfAttention<T>::attend_backward(const LayerContext& context, const LayerActive<T>& active,
                                       View2<const T> dheads, const AttentionSaved& saved,
                                       const View2<T>& dq, const View2<T>& dk,
                                       const View2<T>& dv) const {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const auto workspace =
      arena.vector<Accumulate<T>>(kernels::attention_workspace_size<T>(shape_of(context, active)));
  if (!context.spans)
    return kernels::attention_backward<T>(
        context.products(), shape_of(context, active), {saved.q, saved.k, saved.v, context.segment},
        {saved.heads, saved.lse}, dheads, {dq, dk, dv}, workspace);
  const Spans& spans = *context.spans;
  const auto k = spans.whole(arena, saved.k), v = spans.whole(arena, saved.v);
  std::vector<View2<Accumulate<T>>> dk_parts, dv_parts;  // by the queries of each span
  for (index_t i = 0; i < spans.num_here(); ++i) {
    const TokenBlock span{i, spans.num_here()};
    dk_parts.push_back(arena.matrix<Accumulate<T>>(k.extent_int(0), k.extent_int(1)));
    dv_parts.push_back(arena.matrix<Accumulate<T>>(v.extent_int(0), v.extent_int(1)));
    kernels::attention_backward<T, Accumulate<T>>(
        context.products(), shape_of(context, active, i),
        {span.of(saved.q), k, v, spans.whole_segment()}, {span.of(saved.heads), span.of(saved.lse)},
        span.of(dheads), {span.of(dq), dk_parts.back(), dv_parts.back()}, workspace);
  }
  spans.sum_parts(arena, dk_parts, dk);
  spans.sum_parts(arena, dv_parts, dv);
}

template <class T>
void SelfAttention<T>::forward(const LayerContext& context, const LayerActive<T>& active,
                               View2<const T> u, View2<Accumulate<T>> y, Saved& saved_base) const {
  auto& saved = static_cast<AttentionSaved&>(saved_base);
  Arena& arena = *context.arena;
  const index_t tokens = u.extent_int(0), inner = active.width * m_channels,
                kv = m_groups * m_channels;
  saved.q = arena.matrix<T>(tokens, inner);
  saved.k = arena.matrix<T>(tokens, kv);
  saved.v = arena.matrix<T>(tokens, kv);
  saved.heads = arena.matrix<T>(tokens, inner);
  saved.lse = arena.matrix<Accumulate<T>>(tokens, active.width);
  linear_forward<T>(context.products(), u, m_store[m_q].value, UnitRows::prefix(inner), saved.q);
  linear_forward<T>(context.products(), u, m_store[m_k].value, UnitRows::prefix(kv), saved.k);
  linear_forward<T>(context.products(), u, m_store[m_v].value, UnitRows::prefix(kv), saved.v);
  attend(context, active, saved);
  saved.masked = saved.heads;
  if (active.inner.value.size() > 0) {
    saved.masked = arena.matrix<T>(tokens, inner);
    kernels::column_scale_forward<T>(context.exec, saved.heads, active.inner.value, m_channels,
                                     saved.masked);
  }
  linear_of_units<T>(context, m_store.shard(), saved.masked, m_store[m_o].value,
                     UnitRows::units(active.width, m_channels), y);
}

template <class T>
void SelfAttention<T>::backward(const LayerContext& context, const LayerActive<T>& active,
                                View2<const T> dy, View2<const T> u, const Saved& saved_base,
                                View2<Accumulate<T>> du) const {
  const auto& saved = static_cast<const AttentionSaved&>(saved_base);
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const index_t tokens = u.extent_int(0), inner = active.width * m_channels,
                kv = m_groups * m_channels;
  const auto dheads = arena.matrix<T>(tokens, inner), dq = arena.matrix<T>(tokens, inner);
  const auto dk = arena.matrix<T>(tokens, kv), dv = arena.matrix<T>(tokens, kv);

  const auto &q = m_store[m_q], &k = m_store[m_k], &v = m_store[m_v], &o = m_store[m_o];
  for_each_block(context, [&](const TokenBlock& block) {
    const auto dheads_ = block.of(dheads);
    linear_units_input_backward<T>(context.products(), block.of(dy), block.of(saved.masked),
                                   o.value, o.gradient, UnitRows::prefix(inner), dheads_);
    if (active.inner.gradient.size() > 0)
      kernels::column_scale_backward<T>(context.exec, dheads_, block.of(saved.heads),
                                        active.inner.value, m_channels, dheads_,
                                        active.inner.gradient);
    else if (active.inner.value.size() > 0)  // a mask whose gradient nobody wants
      kernels::column_scale_forward<T>(context.exec, dheads_, active.inner.value, m_channels,
                                       dheads_);
    close_block<T>(context, {o.gradient_vector(), active.inner.gradient});
  });
  attend_backward(context, active, dheads, saved, dq, dk, dv);
  const auto units = [&](index_t heads) { return UnitRows::units(heads, m_channels); };
  for_each_block(context, [&](const TokenBlock& block) {
    const auto weight_gradient = [&](const View2<T>& dout, const Parameter<T>& weight,
                                     index_t heads) {
      linear_weight_gradient<T>(context.products(), block.of(dout), block.of(u), weight.gradient,
                                units(heads));
    };
    weight_gradient(dq, q, active.width);
    weight_gradient(dk, k, m_groups);
    weight_gradient(dv, v, m_groups);
    close_block<T>(context, {q.gradient_vector(), k.gradient_vector(), v.gradient_vector()});
  });
  UnitSum<T> sum(context, m_store.shard(), du);
  sum.add_rows(dq, q.value, units(active.width));
  sum.add_rows(dk, k.value, units(m_groups));
  sum.add_rows(dv, v.value, units(m_groups));
  sum.finish();
}

template <class T>
View2<const T> SelfAttention<T>::importance_activations(const Saved& saved,
                                                        UnitActivations which) const {
  const auto& kept = static_cast<const AttentionSaved&>(saved);
  return which == UnitActivations::outputs ? kept.heads : kept.q;
}

template class SelfAttention<bfloat16>;
template class SelfAttention<float>;
template class SelfAttention<double>;

}  // namespace elastic
