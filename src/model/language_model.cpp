// SPDX-License-Identifier: Apache-2.0
#include "model/language_model.hpp"

#include "kernels/rows/embedding.hpp"
#include "kernels/products/gemm.hpp"
#include "kernels/products/interleave_columns.hpp"

namespace elastic {
namespace {
template <class T>
index_t add_vocabulary_tensor(ParameterStore<T>& store, const char* name, const ModelShape& shape) {
  return store.add({.name = name,
                    .rows = shape.vocab_size,
                    .columns = shape.hidden_size,
                    .column_dim = Dim::hidden,
                    .row_unit = 1});
}
}  // namespace

template <class T>
LanguageModel<T>::LanguageModel(const ModelShape& shape, bool frozen,
                                const TensorParallel& parallel)
    : m_shape(shape),
      m_parallel(parallel),
      m_store(parallel.shard()),
      m_embeddings(add_vocabulary_tensor(m_store, "word_embeddings", shape)),
      m_stack(shape, parallel, m_store),
      m_final_norm(m_store.add({.name = "final_norm.weight",
                                .rows = 1,
                                .columns = shape.hidden_size,
                                .column_dim = Dim::hidden,
                                .weight_decay = false,
                                .vector = true,
                                .initial = InitialLaw::ones})),
      m_output(add_vocabulary_tensor(m_store, "output_layer", shape)) {
  m_store.allocate(!frozen);
}

template <class T>
ForwardPass<T> LanguageModel<T>::make_pass(Keep keep, const std::vector<bool>& recomputed) const {
  ForwardPass<T> pass;
  pass.keep = keep;
  pass.entries = m_stack.make_entries();
  for (std::size_t l = 0; l < recomputed.size(); ++l) pass.entries.at(l).recomputed = recomputed[l];
  return pass;
}

template <class T>
View2<T> LanguageModel<T>::embed(const LayerContext& context, const ActiveWidths<T>& widths,
                                 View1<const token_t> tokens) const {
  const auto partial = context.arena->matrix<T>(context.num_tokens(), widths.hidden);
  kernels::embedding_forward<T>(context.exec, tokens,
                                prefix(word_embeddings().value, num_my_words(), widths.hidden),
                                partial, shard());
  return m_parallel.template sum<T>(*context.arena, partial);
}

template <class T>
View2<T> LanguageModel<T>::normalize(const LayerContext& context, const ActiveWidths<T>& widths,
                                     const View2<T>& stream, const View2<T>& normed,
                                     const View1<Accumulate<T>>& rstd) const {
  kernels::rmsnorm_forward<T>(
      context.exec,
      {stream, prefix(final_norm().value_vector(), widths.hidden), widths.hidden_mask.value},
      widths.norm.params, normed, rstd);
  return m_parallel.gather(*context.arena, normed, context.num_tokens());
}

template <class T>
void LanguageModel<T>::forward(const LayerContext& context, const ActiveWidths<T>& widths,
                               View1<const token_t> tokens, ForwardPass<T>& pass,
                               const StackObserver<T>& observer) const {
  pass.stream = embed(context, widths, tokens);
  const index_t num_mine = pass.stream.extent_int(0);
  const auto normed = context.arena->matrix<T>(num_mine, widths.hidden);
  pass.rstd = context.arena->vector<Accumulate<T>>(num_mine);
  m_stack.forward(context, widths, pass.keep, pass.stream, pass.entries, observer);
  pass.hidden = normalize(context, widths, pass.stream, normed, pass.rstd);
}

template <class T>
void LanguageModel<T>::backward(const LayerContext& context, const ActiveWidths<T>& widths,
                                View1<const token_t> tokens, ForwardPass<T>& pass,
                                const View2<Accumulate<T>>& dhidden,
                                const GradientsComplete& complete) const {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const index_t num_mine = pass.stream.extent_int(0), width = widths.hidden;
  const auto dstream = arena.matrix<T>(num_mine, width);
  const auto workspace =
      arena.vector<Accumulate<T>>(kernels::rmsnorm_workspace_size(num_mine, width));
  Kokkos::deep_copy(context.exec, dstream, T(0));
  const auto dnormed = m_parallel.template sum<T>(arena, dhidden);
  for (const Range& block : m_parallel.my_blocks(context.num_tokens(), context.num_blocks())) {
    const auto rows_of = [&](const View2<T>& all) { return rows(all, block.first, block.second); };
    kernels::rmsnorm_backward<T>(context.exec,
                                 {rows_of(pass.stream), prefix(final_norm().value_vector(), width),
                                  widths.hidden_mask.value},
                                 widths.norm.params, Kokkos::subview(pass.rstd, block),
                                 rows_of(dnormed),
                                 {rows_of(dstream), prefix(final_norm().gradient_vector(), width),
                                  widths.hidden_mask.gradient, widths.norm.dscale},
                                 workspace);
    close_block<T>(
        context, {final_norm().gradient_vector(), widths.hidden_mask.gradient, widths.norm.dscale});
  }
  m_stack.backward(context, widths, pass.keep, dstream, pass.entries, complete);
  const auto dembedded = m_parallel.gather(arena, dstream, context.num_tokens());
  for_each_block(context, [&](const TokenBlock& block) {
    kernels::embedding_backward<T>(context.exec, block.of(tokens), block.of(dembedded),
                                   prefix(word_embeddings().gradient, num_my_words(), width),
                                   shard());
    close_block<T>(context, {word_embeddings().gradient_vector()});
  });
}

template <class T>
void LanguageModel<T>::logits(const kernels::Products& products, View2<const T> hidden,
                              const View2<T>& out) const {
  const index_t width = hidden.extent_int(1);
  kernels::gemm<T>(products, kernels::Transpose::no, kernels::Transpose::yes, 1, hidden,
                   prefix(output_layer().value, num_my_words(), width), 0, out);
}

template <class T>
void LanguageModel<T>::all_logits(const kernels::Products& products, Arena& arena,
                                  View2<const T> hidden, const View2<T>& out) const {
  if (!m_parallel.group()) return logits(products, hidden, out);
  const Arena::Scope scope(arena);
  const index_t count = hidden.extent_int(0), ranks = shard().size;
  // Ranks may differ by one word: every rank sends as many columns as the first has.
  const index_t words = local_count(m_shape.vocab_size, {0, static_cast<int>(ranks)});
  const auto mine = arena.matrix<T>(count, words);
  const auto all = arena.matrix<T>(ranks * count, words);
  logits(products, hidden, prefix(mine, count, num_my_words()));
  m_parallel.gather_equal(mine, all);
  kernels::interleave_columns<T>(products.exec, all, ranks, out);
}

template class LanguageModel<bfloat16>;
template class LanguageModel<float>;
template class LanguageModel<double>;

}  // namespace elastic
