// SPDX-License-Identifier: Apache-2.0
// The layers of a stack with what they remember of the positions so far.
//
//   StackDecoder<float> layers(model.stack(), widths, batch, max_length, history);
//   layers.extend(context, position, h);     // h [B*L, D] after the next L positions
#pragma once
#include "layers/generation.hpp"
#include "model/hybrid_stack.hpp"

namespace elastic {

/// True if every width of `inner` fits into `outer`, so that caches of `outer` can be cut to it.
template <class T>
bool fits_into(const ActiveWidths<T>& inner, const ActiveWidths<T>& outer);

template <class T>
class StackDecoder {
 public:
  /// `widths` are exact (no masks). The decoder refers to `stack`.
  StackDecoder(const HybridStack<T>& stack, const ActiveWidths<T>& widths, index_t batch,
               index_t max_length, index_t history);
  /// Goes on where `wider` is with widths that fit into its own. `context`: B as before.
  /// Throws ContractError if they do not fit.
  StackDecoder(StackDecoder&& wider, const LayerContext& context, const ActiveWidths<T>& narrower);

  const ActiveWidths<T>& widths() const { return m_widths; }
  /// Takes h [B*L, D] through the next L positions of each of B sequences, from `position` on
  /// (layers/generation.hpp); all tokens on every rank.
  void extend(const LayerContext& context, index_t position, const View2<T>& h) const;

 private:
  const HybridStack<T>& m_stack;
  ActiveWidths<T> m_widths;
  std::vector<std::unique_ptr<GenerationLayer<T>>> m_layers;
  std::vector<std::unique_ptr<LayerCache>> m_caches;  // one per layer; null where it is dropped
};

}  // namespace elastic
