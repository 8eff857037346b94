// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.hpp"

#include <algorithm>

#include "kernels/rows/argmax.hpp"
#include "kernels/rows/embedding.hpp"
#include "kernels/rows/rmsnorm.hpp"

namespace elastic {
namespace {
constexpr index_t rows_at_once = 256;  // rows of a prompt that pass through the layers together

std::vector<token_t> columns_of(const std::vector<token_t>& tokens, index_t batch, index_t begin,
                                index_t end) {
  const auto length = static_cast<index_t>(tokens.size()) / batch;
  std::vector<token_t> result;
  for (index_t b = 0; b < batch; ++b)
    result.insert(result.end(), tokens.begin() + b * length + begin,
                  tokens.begin() + b * length + end);
  return result;
}
}  // namespace

template <class T>
View2<T> embed_all(const LayerContext& context, const LanguageModel<T>& model, index_t width,
                   const View1<const token_t>& tokens) {
  const auto embedded = context.arena->matrix<T>(context.num_tokens(), width);
  kernels::embedding_forward<T>(context.exec, tokens,
                                prefix(model.word_embeddings().value, model.num_my_words(), width),
                                embedded, model.shard());
  return model.parallel().template sum_all<T>(*context.arena, embedded);
}

template <class T>
void finish_all(const LayerContext& context, const LanguageModel<T>& model,
                const ActiveWidths<T>& widths, const View2<T>& stream, const View2<T>& out) {
  Arena& arena = *context.arena;
  const index_t count = stream.extent_int(0);
  const auto normed = arena.matrix<T>(count, widths.hidden);
  const auto rstd = arena.vector<Accumulate<T>>(count);
  kernels::rmsnorm_forward<T>(context.exec,
                              {stream, prefix(model.final_norm().value_vector(), widths.hidden)},
                              widths.norm.params, normed, rstd);
  model.all_logits(context.products(), arena, normed, out);
}

template <class T>
Decoder<T>::Decoder(const kernels::Products& products, Arena& arena, const LanguageModel<T>& model,
                    const ActiveWidths<T>& widths, index_t batch, index_t max_length,
                    index_t history)
    : m_arena(arena),
      m_model(model),
      m_context{.exec = products.exec,
                .deterministic = products.deterministic,
                .arena = &arena,
                .batch = batch,
                .seq_length = 1,
                .segment = {}},
      m_max_length(max_length),
      m_history(history),
      m_layers(model.stack(), widths, batch, max_length, history) {}

template <class T>
Decoder<T>::Decoder(Decoder&& wider, const ActiveWidths<T>& narrower)
    : m_arena(wider.m_arena),
      m_model(wider.m_model),
      m_context(wider.m_context),
      m_max_length(wider.m_max_length),
      m_history(wider.m_history),
      m_position(wider.m_position),
      m_oldest(wider.m_oldest),
      m_layers(std::move(wider.m_layers), m_context, narrower) {}

template <class T>
View2<T> Decoder<T>::extend(const std::vector<token_t>& tokens, index_t begin, index_t end) {
  const index_t count = end - begin;
  ELASTIC_REQUIRE(m_position + count <= m_max_length, "{} positions after {} of {}", count,
                  m_position, m_max_length);
  m_context.seq_length = count;
  const auto piece = columns_of(tokens, m_context.batch, begin, end);
  const auto ids = m_arena.vector<token_t>(m_context.num_tokens());
  Kokkos::deep_copy(m_context.exec, ids, HostView1<const token_t>(piece.data(), piece.size()));
  fence(m_context.exec, "elastic::decoder_tokens");  // `piece` ends here
  const auto stream = embed_all<T>(m_context, m_model, m_layers.widths().hidden, ids);
  m_layers.extend(m_context, m_position, stream);
  m_position += count;
  m_oldest = std::max(m_oldest, m_position - m_history);
  return stream;
}

template <class T>
View2<const T> Decoder<T>::logits(const View2<T>& stream) {
  const Arena::Scope scope(m_arena);
  const index_t count = stream.extent_int(0), vocab = m_model.shape().vocab_size;
  if (m_logits.extent_int(0) < count) m_logits = View2<T>("elastic::decoder_logits", count, vocab);
  const auto result = rows(m_logits, 0, count);
  finish_all<T>(m_context, m_model, m_layers.widths(), stream, result);
  return result;
}

template <class T>
View2<const T> Decoder<T>::read(const std::vector<token_t>& tokens) {
  const index_t batch = m_context.batch, length = static_cast<index_t>(tokens.size()) / batch;
  ELASTIC_REQUIRE(length > 0 && length * batch == static_cast<index_t>(tokens.size()),
                  "{} tokens for {} sequences", tokens.size(), batch);
  const index_t step = std::max<index_t>(1, rows_at_once / batch);
  for (index_t begin = 0;; begin += step) {
    const Arena::Scope scope(m_arena);
    const index_t end = std::min(length, begin + step);
    const auto stream = extend(tokens, begin, end);
    if (end < length) continue;
    const auto last = m_arena.matrix<T>(batch, m_layers.widths().hidden);
    Kokkos::deep_copy(m_context.exec, last, of_each_sequence(stream, end - begin, end - begin - 1));
    return logits(last);
  }
}

template <class T>
View2<const T> Decoder<T>::read_each(const std::vector<token_t>& tokens) {
  const Arena::Scope scope(m_arena);
  return logits(extend(tokens, 0, static_cast<index_t>(tokens.size()) / m_context.batch));
}

template <class T>
void Decoder<T>::rewind(index_t position) {
  ELASTIC_REQUIRE(m_oldest <= position && position <= m_position,
                  "cannot go to position {} from {} with a history of {}", position, m_position,
                  m_history);
  m_position = position;
}

template <class T>
std::vector<token_t> most_likely(const ExecutionSpace& exec, View2<const T> logits) {
  const View1<token_t> tokens("elastic::most_likely", logits.extent(0));
  kernels::argmax_rows<T>(exec, logits, tokens);
  std::vector<token_t> result(logits.extent(0));
  Kokkos::deep_copy(exec, HostView1<token_t>(result.data(), result.size()), tokens);
  fence(exec, "elastic::most_likely");
  for (std::size_t r = 0; r < result.size(); ++r)
    if (result[r] < 0)
      throw NumericsError(fmt::format("generation: the logits of sequence {} are not finite", r));
  return result;
}

#define ELASTIC_INSTANTIATE(T)                                                           \
  template class Decoder<T>;                                                             \
  template View2<T> embed_all<T>(const LayerContext&, const LanguageModel<T>&, index_t,  \
                                 const View1<const token_t>&);                           \
  template void finish_all<T>(const LayerContext&, const LanguageModel<T>&,              \
                              const ActiveWidths<T>&, const View2<T>&, const View2<T>&); \
  template std::vector<token_t> most_likely<T>(const ExecutionSpace&, View2<const T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
