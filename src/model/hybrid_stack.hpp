// SPDX-License-Identifier: Apache-2.0
// The pre-norm residual stack:  h <- h + gamma_l m (.) mixer_l( RMSNorm(m (.) h) ),  layer by
// layer; gamma_l = 0 skips the work.
#pragma once
#include <functional>

#include "layers/layer.hpp"
#include "model/tensor_parallel.hpp"

namespace elastic {

/// What forward keeps for backward.
enum class Keep {
  nothing,
  inputs,
  everything
};  ///< inputs: layers are recomputed one by one in backward

/// What one layer kept; Views lie in the arena. T' = this rank's tokens of the residual stream (T
/// without sequence parallelism).
template <class S>
struct StackEntry {
  View2<S> input;   ///< [T', D] residual stream before the layer
  View2<S> normed;  ///< [T', D]
  View1<S> rstd;    ///< [T']
  View2<S> mixed;   ///< [T, D] normed, of all tokens: what the mixer reads
  View2<S> output;  ///< [T', D] of the mixer
  std::unique_ptr<typename Layer<S>::Saved> saved;
};

/// Called after each active layer of a forward pass that keeps everything (importance scores).
template <class S>
using StackObserver = std::function<void(index_t layer, const StackEntry<S>& entry)>;

/// Called in a backward pass with the offset in the flat buffer from which on gradients will not
/// change any more.
using GradientsComplete = std::function<void(index_t offset)>;

/// One per layer; null where a layer is dropped.
template <class S>
using StackCaches = std::vector<std::unique_ptr<typename Layer<S>::Cache>>;

template <class S>
class HybridStack {
 public:
  /// Declares "layers.<l>.norm.weight" and the mixers' tensors in `store`, whose shard is that of
  /// `parallel`.
  HybridStack(const ModelShape& shape, const TensorParallel& parallel, ParameterStore<S>& store);

  std::vector<StackEntry<S>> make_entries() const;
  /// [in, out] h [T', D]: residual stream, embeddings in, last layer's sum out.
  void forward(const LayerContext& context, const ActiveWidths<S>& widths, Keep keep,
               const View2<S>& h, std::vector<StackEntry<S>>& entries,
               const StackObserver<S>& observer = {}) const;
  /// [in, out] dh [T', D]. `keep` as in the forward (inputs or everything).
  void backward(const LayerContext& context, const ActiveWidths<S>& widths, Keep keep,
                const View2<S>& dh, std::vector<StackEntry<S>>& entries,
                const GradientsComplete& complete = {}) const;
  /// The next L positions of each of B sequences from `position` on (layers/layer.hpp); h [B*L, D],
  /// all tokens on every rank.
  void extend(const LayerContext& context, const ActiveWidths<S>& widths, index_t position,
              const View2<S>& h, StackCaches<S>& caches) const;
  const Layer<S>& layer(index_t l) const { return *m_layers[static_cast<std::size_t>(l)]; }
  index_t num_layers() const { return static_cast<index_t>(m_layers.size()); }

 private:
  void forward_layer(const LayerContext& context, const ActiveWidths<S>& widths, std::size_t l,
                     StackEntry<S>& entry) const;
  void backward_layer(const LayerContext& context, const ActiveWidths<S>& widths, std::size_t l,
                      const StackEntry<S>& entry, const View2<S>& dh) const;

  TensorParallel m_parallel;
  const ParameterStore<S>& m_store;
  std::vector<std::unique_ptr<Layer<S>>> m_layers;
  std::vector<index_t> m_norms;
};

}  // namespace elastic
