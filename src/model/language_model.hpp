// SPDX-License-Identifier: Apache-2.0
// The language model: embedding, stack, final norm, output layer. Logits of a whole sequence never
// exist: losses.hpp walks over chunks of tokens.
#pragma once
#include "model/hybrid_stack.hpp"

namespace elastic {

/// Activations of one pass through one model.
template <class T>
struct ForwardPass {
  Keep keep = Keep::nothing;
  View2<T> stream;            ///< [T', D] residual stream after the last layer, this rank's tokens
  View2<T> hidden;            ///< [T, D] after the final norm: what the output layer reads
  View1<Accumulate<T>> rstd;  ///< [T']
  std::vector<StackEntry<T>> entries;
};

/// A model with its parameters, or this rank's part of one.
template <class T>
class LanguageModel {
 public:
  /// All values are zero; initialization.hpp fills them. A frozen model has no gradients. With
  /// several tensor-parallel ranks, each holds its units of the whole model that `shape` describes.
  explicit LanguageModel(const ModelShape& shape, bool frozen = false,
                         const TensorParallel& parallel = {});
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;

  const ModelShape& shape() const { return m_shape; }  ///< of the whole model
  const TensorParallel& parallel() const { return m_parallel; }
  Shard shard() const { return m_parallel.shard(); }
  ParameterStore<T>& parameters() { return m_store; }
  const ParameterStore<T>& parameters() const { return m_store; }
  /// [V', D]: this rank's words
  const Parameter<T>& word_embeddings() const { return m_store[m_embeddings]; }
  const Parameter<T>& output_layer() const { return m_store[m_output]; }    ///< [V', D]
  index_t num_my_words() const { return output_layer().rows; }              ///< V'
  const Parameter<T>& final_norm() const { return m_store[m_final_norm]; }  ///< [D]
  const HybridStack<T>& stack() const { return m_stack; }
  /// An empty pass for forward() to fill. `recomputed`: by layer, those of which it keeps only the
  /// input all the same; empty: none.
  ForwardPass<T> make_pass(Keep keep, const std::vector<bool>& recomputed = {}) const;
  /// Exact widths of a submodel, or of the whole model, on this rank.
  ActiveWidths<T> widths(const SubmodelSpec& spec) const {
    return prefix_widths<T>(m_shape, spec, shard());
  }
  ActiveWidths<T> full_widths() const { return widths(full_spec(m_shape)); }

  /// The residual stream before the first layer, [T', D]. [in] tokens [T]
  View2<T> embed(const LayerContext& context, const ActiveWidths<T>& widths,
                 View1<const token_t> tokens) const;
  /// The final norm of a residual stream [T', D]: what the output layer reads, [T, D].
  /// [out] normed [T', D], rstd [T']
  View2<T> normalize(const LayerContext& context, const ActiveWidths<T>& widths,
                     const View2<T>& stream, const View2<T>& normed,
                     const View1<Accumulate<T>>& rstd) const;
  /// embed, all layers, normalize. [in] tokens [T]; fills `pass`.
  void forward(const LayerContext& context, const ActiveWidths<T>& widths,
               View1<const token_t> tokens, ForwardPass<T>& pass,
               const StackObserver<T>& observer = {}) const;
  /// Adds the gradients of parameters, masks and scales. [in, out] dhidden [T, D]: gradient by
  /// pass.hidden, this rank's part of a sum over words and tensor-parallel ranks; changed.
  void backward(const LayerContext& context, const ActiveWidths<T>& widths,
                View1<const token_t> tokens, ForwardPass<T>& pass,
                const View2<Accumulate<T>>& dhidden, const GradientsComplete& complete = {}) const;
  /// Logits of some rows of `hidden` and this rank's words: [t, V'] = hidden W_output^T.
  void logits(const kernels::Products& products, View2<const T> hidden, const View2<T>& out) const;
  /// Logits of all words, [t, V], on every rank.
  void all_logits(const kernels::Products& products, Arena& arena, View2<const T> hidden,
                  const View2<T>& out) const;

 private:
  ModelShape m_shape;
  TensorParallel m_parallel;
  ParameterStore<T> m_store;
  index_t m_embeddings;
  HybridStack<T> m_stack;
  index_t m_final_norm, m_output;
};

}  // namespace elastic
