// SPDX-License-Identifier: Apache-2.0
// The pre-norm residual stack, layer by layer (m: hidden mask, gamma_l: gate of layer l):
//
//   h <- h + gamma_l m (.) mixer_l( RMSNorm(m (.) h) )
//
// The stream h, its gradient, and each mixer's output and input gradient are values of T, rounded
// once from the sum over units and ranks (doc/numerics.md).
// A layer with gamma_l = 0 is not computed.
#pragma once
#include <algorithm>
#include <functional>

#include "layers/layer.hpp"
#include "parallel/tensor_parallel.hpp"

namespace elastic {

/// What forward keeps for backward. With inputs, backward recomputes all layers one by one; with
/// everything, those whose entry says so.
enum class Keep { nothing, inputs, everything };

/// What one layer kept; Views lie in the arena. T' are this rank's tokens of the residual stream,
/// all T without sequence parallelism.
template <class T>
struct StackEntry {
  bool recomputed = false;    ///< only the input is kept, and the forward pass is repeated
  View2<T> input;             ///< [T', D] residual stream before the layer
  View2<T> normed;            ///< [T', D]
  View1<Accumulate<T>> rstd;  ///< [T']
  View2<T> mixed;             ///< [T, D] normed, of all tokens: what the mixer reads
  View2<T> output;            ///< [T', D] of the mixer
  std::unique_ptr<typename Layer<T>::Saved> saved;
};

/// Called after each active layer of a forward pass that keeps everything (importance scores).
template <class T>
using StackObserver = std::function<void(index_t layer, const StackEntry<T>& entry)>;

/// Called in a backward pass with the offset in the flat buffer from which on gradients
/// will not change any more.
using GradientsComplete = std::function<void(index_t offset)>;

/// The layers of a model in order.
template <class T>
class HybridStack {
 public:
  /// Declares "layers.<l>.norm.weight" and the mixers' tensors in `store`,
  /// whose shard is that of `parallel`.
  HybridStack(const ModelShape& shape, const TensorParallel& parallel, ParameterStore<T>& store);

  /// One empty entry per layer, for a forward pass to fill.
  std::vector<StackEntry<T>> make_entries() const;
  /// [in, out] h [T', D]: residual stream, embeddings in, last layer's sum out.
  void forward(const LayerContext& context, const ActiveWidths<T>& widths, Keep keep,
               const View2<T>& h, std::vector<StackEntry<T>>& entries,
               const StackObserver<T>& observer = {}) const;
  /// The given layers one after the other, of whose passes nothing is kept; gates and masks act,
  /// whether a layer is active does not matter. [in, out] h [T', D]
  void forward_some(const LayerContext& context, const ActiveWidths<T>& widths,
                    const std::vector<index_t>& layers, const View2<T>& h) const;
  /// [in, out] dh [T', D]. `keep` as in the forward (inputs or everything).
  void backward(const LayerContext& context, const ActiveWidths<T>& widths, Keep keep,
                const View2<T>& dh, std::vector<StackEntry<T>>& entries,
                const GradientsComplete& complete = {}) const;
  const Layer<T>& layer(index_t l) const { return *m_layers[static_cast<std::size_t>(l)]; }
  /// [D], before layer l.
  const Parameter<T>& norm(index_t l) const {
    return m_store[m_norms[static_cast<std::size_t>(l)]];
  }
  const TensorParallel& parallel() const { return m_parallel; }
  index_t num_layers() const { return static_cast<index_t>(m_layers.size()); }

 private:
  static index_t num_active(const ActiveWidths<T>& widths) {
    return std::count_if(widths.layers.begin(), widths.layers.end(),
                         [](const auto& layer) { return layer.active; });
  }
  /// Whether a layer's output is added to the stream as it is, without mask and gate.
  static bool joins_unchanged(const ActiveWidths<T>& widths, const LayerActive<T>& active) {
    return active.gamma == 1 && active.dgamma.size() == 0 && widths.hidden_mask.value.size() == 0 &&
           widths.hidden_mask.gradient.size() == 0;
  }
  /// `partial` [T, D]: where the mixer puts its sum; empty: memory of its own.
  void forward_layer(const LayerContext& context, const ActiveWidths<T>& widths, std::size_t l,
                     StackEntry<T>& entry, View2<Accumulate<T>> partial = {}) const;
  void backward_layer(const LayerContext& context, const ActiveWidths<T>& widths, std::size_t l,
                      const StackEntry<T>& entry, const View2<T>& dh) const;

  TensorParallel m_parallel;
  const ParameterStore<T>& m_store;
  std::vector<std::unique_ptr<Layer<T>>> m_layers;
  std::vector<index_t> m_norms;
};

}  // namespace elastic
