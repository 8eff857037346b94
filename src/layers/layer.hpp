// SPDX-License-Identifier: Apache-2.0
// What every mixer of the stack offers to training: y = mixer(u) on a prefix of its parameters, and
// its gradient. Generation has an interface of its own (layers/generation.hpp).
//
// A layer holds references to its parameters and nothing else. What a pass keeps lies in an object
// of its own (Saved), whose Views come from the arena of the step.
#pragma once
#include <memory>

#include "base/arena.hpp"
#include "elastic/active_widths.hpp"
#include "elastic/importance.hpp"
#include "kernels/products/gemm.hpp"
#include "parallel/spans.hpp"

namespace elastic {

/// Where and on what a pass runs.
struct LayerContext {
  ExecutionSpace exec;
  bool deterministic = false;  ///< the route of products (kernels/products/gemm.hpp)
  Arena* arena = nullptr;      ///< memory of activations
  index_t batch = 0;           ///< B
  index_t seq_length = 0;      ///< L
  /// [T] document of each token, or empty: one document per sequence.
  View1<const token_t> segment;
  /// Null for whole sequences. Otherwise the rows are spans: B counts the spans of all sequences
  /// here, L is the length of a span.
  const Spans* spans = nullptr;
  BlockSums* sums = nullptr;  ///< of gradients over blocks; null: they stay where they are

  index_t num_tokens() const { return batch * seq_length; }
  kernels::Products products() const { return {exec, deterministic}; }
  /// Number of blocks over which parameter gradients are summed in one go:
  /// one per span where these are laid out in turn.
  index_t num_blocks() const { return spans && spans->layout().in_turn ? spans->num_here() : 1; }
};

/// Calls body(block) for all blocks.
template <class Body>
void for_each_block(const LayerContext& context, const Body& body) {
  for (index_t i = 0; i < context.num_blocks(); ++i) body(TokenBlock{i, context.num_blocks()});
}
/// Gives the gradients of a finished block to context.sums, if there is one.
template <class T>
void close_block(const LayerContext& context,
                 std::initializer_list<View1<Accumulate<T>>> gradients) {
  if (!context.sums) return;
  for (const auto& gradient : gradients) context.sums->take(gradient);
}

template <class T>
class GenerationLayer;

/// The interface of all mixers.
template <class T>
class Layer {
 public:
  /// Activations kept from forward to backward.
  struct Saved {
    virtual ~Saved() = default;
  };
  virtual ~Layer() = default;

  virtual std::unique_ptr<Saved> make_saved() const = 0;
  /// All memory taken from the arena belongs to `saved`.
  /// y and du are sums over the units of this rank, of which those of other tensor-parallel ranks
  /// are terms too; so they are rounded to T by the caller, once.
  /// [in] u [T, D] (normalised input)
  /// [out] y [T, D], saved
  virtual void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
                       View2<Accumulate<T>> y, Saved& saved) const = 0;
  /// Parameter and mask gradients accumulate.
  /// [in] dy [T, D], u, saved of the forward
  /// [out] du [T, D]
  virtual void backward(const LayerContext& context, const LayerActive<T>& active,
                        View2<const T> dy, View2<const T> u, const Saved& saved,
                        View2<Accumulate<T>> du) const = 0;
  /// The activations whose size ranks the units of the layer (Nemotron Elastic, arXiv 2511.16664,
  /// importance estimation; ModelOpt), before any mask:
  ///
  ///              projections                   outputs
  ///   Mamba      x as projected [T, E]         the same
  ///   attention  queries [T, A*C]              heads' outputs [T, A*C]
  ///   MLP        first linear's output [T, F]  what the second linear reads [T, F]
  virtual View2<const T> importance_activations(const Saved& saved,
                                                UnitActivations which) const = 0;

  /// This mixer for generation; refers to the layer, which must outlive it.
  virtual std::unique_ptr<GenerationLayer<T>> for_generation() const = 0;
};

/// Declares the tensors "layers.<index>.mixer.*" in `store`;
/// the layer refers to them after store.allocate().
template <class T>
std::unique_ptr<Layer<T>> make_layer(const ModelShape& shape, index_t index,
                                     ParameterStore<T>& store);

/// Makes the layers of a kind that add_layer_kind() added (arch/layer_kind.hpp).
template <class T>
using LayerFactory = std::unique_ptr<Layer<T>> (*)(const ModelShape& shape, index_t index,
                                                   ParameterStore<T>& store);
/// Throws ContractError if the kind has a factory already.
template <class T>
void add_layer_factory(LayerKind kind, LayerFactory<T> factory);

/// Declares the tensors of a layer (arch/layer_kind.hpp) in `store` and puts their indices into
/// `members`, in the order of the description.
template <class T>
void declare_tensors(const ModelShape& shape, index_t index, ParameterStore<T>& store,
                     std::initializer_list<index_t*> members);

}  // namespace elastic
