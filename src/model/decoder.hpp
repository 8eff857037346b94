// SPDX-License-Identifier: Apache-2.0
// A submodel that reads sequences piece by piece and remembers them in KV and SSM caches.
//
//   Decoder<float> decoder(products, arena, model, widths, batch, max_length);
//   logits = decoder.read(prompts);        // all sequences advance together
//   logits = decoder.read(next_tokens);
#pragma once
#include "model/language_model.hpp"
#include "model/stack_decoder.hpp"

namespace elastic {

/// Residual stream of tokens [T] of which every rank has all: [T, width], in the arena.
template <class T>
View2<T> embed_all(const LayerContext& context, const LanguageModel<T>& model, index_t width,
                   const View1<const token_t>& tokens);
/// Final norm and logits of all words of a stream that every rank has whole: out [T, V].
template <class T>
void finish_all(const LayerContext& context, const LanguageModel<T>& model,
                const ActiveWidths<T>& widths, const View2<T>& stream, const View2<T>& out);

template <class T>
class Decoder {
 public:
  /// `widths` are exact (no masks). `history`: positions that can be taken back.
  /// The decoder refers to `arena` and `model`.
  Decoder(const kernels::Products& products, Arena& arena, const LanguageModel<T>& model,
          const ActiveWidths<T>& widths, index_t batch, index_t max_length, index_t history = 0);
  /// Goes on where `wider` is, with a submodel that fits into it, from its caches.
  /// What these hold was computed with the wider widths. KV caches are shared; states are cut
  /// to the kept heads and channels.
  Decoder(Decoder&& wider, const ActiveWidths<T>& narrower);

  /// Reads k more tokens of each of B sequences, [B*k], sequence by sequence. Returns the logits
  /// of what follows the last one, [B, V]; they are valid until the next read.
  View2<const T> read(const std::vector<token_t>& tokens);
  /// Reads like read(), but returns the logits of what follows each token, [B*k, V].
  View2<const T> read_each(const std::vector<token_t>& tokens);
  /// Goes back, by at most `history` positions, so that the next token read
  /// is the `position`-th (from 0).
  void rewind(index_t position);
  /// Tokens of each sequence read so far.
  index_t position() const { return m_position; }

 private:
  /// Residual stream after tokens [begin, end) of each of the B sequences in `tokens`,
  /// in the arena: [B * (end - begin), D].
  View2<T> extend(const std::vector<token_t>& tokens, index_t begin, index_t end);
  View2<const T> logits(const View2<T>& stream);

  Arena& m_arena;
  const LanguageModel<T>& m_model;
  LayerContext m_context;
  index_t m_max_length, m_history;
  index_t m_position = 0, m_oldest = 0;  // next position; the first that rewind can reach
  StackDecoder<T> m_layers;
  View2<T> m_logits;  // grows
};

/// The most likely token of each row of logits, on the host. Throws NumericsError if a logit is not
/// finite.
template <class T>
std::vector<token_t> most_likely(const ExecutionSpace& exec, View2<const T> logits);

}  // namespace elastic
