// SPDX-License-Identifier: Apache-2.0
// The language model: embedding, stack, final norm, output layer. Logits of a whole sequence never
// exist: losses.hpp walks over chunks of tokens.
#pragma once
#include "model/hybrid_stack.hpp"

namespace elastic {

/// Activations of one pass through one model.
template <class S>
struct ForwardPass {
  Keep keep = Keep::nothing;
  View2<S> stream;  ///< [T, D] residual stream after the last layer
  View2<S> hidden;  ///< [T, D] after the final norm: what the output layer reads
  View1<S> rstd;    ///< [T]
  std::vector<StackEntry<S>> entries;
};

template <class S>
class LanguageModel {
 public:
  /// All values zero; see initialization.hpp. A frozen model has no gradients.
  explicit LanguageModel(const ModelShape& shape, bool frozen = false);
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;

  const ModelShape& shape() const { return m_shape; }
  ParameterStore<S>& parameters() { return m_store; }
  const ParameterStore<S>& parameters() const { return m_store; }
  const Parameter<S>& word_embeddings() const { return m_store[m_embeddings]; }  ///< [V, D]
  const Parameter<S>& output_layer() const { return m_store[m_output]; }         ///< [V, D]
  const Parameter<S>& final_norm() const { return m_store[m_final_norm]; }       ///< [D]
  const HybridStack<S>& stack() const { return m_stack; }
  ForwardPass<S> make_pass(Keep keep) const;

  /// [in] tokens [T]; fills `pass`.
  void forward(const LayerContext& context, const ActiveWidths<S>& widths,
               View1<const token_t> tokens, ForwardPass<S>& pass,
               const StackObserver<S>& observer = {}) const;
  /// [in] dhidden [T, D]: gradient by pass.hidden. Parameter, mask and scale gradients accumulate.
  void backward(const LayerContext& context, const ActiveWidths<S>& widths,
                View1<const token_t> tokens, ForwardPass<S>& pass, View2<const S> dhidden) const;
  /// Logits of some rows of `hidden`: [t, V] = hidden W_output^T.
  void logits(const ExecutionSpace& exec, View2<const S> hidden, const View2<S>& out) const;

 private:
  ModelShape m_shape;
  ParameterStore<S> m_store;
  index_t m_embeddings;
  HybridStack<S> m_stack;
  index_t m_final_norm, m_output;
};

}  // namespace elastic
