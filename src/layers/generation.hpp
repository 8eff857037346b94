// SPDX-License-Identifier: Apache-2.0
// What a mixer offers to generation: the next positions of sequences from a cache of those before.
//
//   const auto mixer = layer.for_generation();
//   const auto cache = mixer->make_cache(active, batch, max_length, history);
//   mixer->extend(context, active, u, position, *cache, y);
//
// Training does not see this interface. A mixer for generation refers to the layer that made it and
// to its tensors.
#pragma once
#include "layers/layer.hpp"

namespace elastic {

/// What generation remembers of the positions so far: KV cache, or convolution and SSM state.
struct LayerCache {
  virtual ~LayerCache() = default;
};

template <class T>
class GenerationLayer {
 public:
  virtual ~GenerationLayer() = default;

  /// Caches for sequences of at most max_length positions, from which extend may go on at any
  /// of the last `history` positions again.
  virtual std::unique_ptr<LayerCache> make_cache(const LayerActive<T>& active, index_t batch,
                                                 index_t max_length, index_t history) const = 0;
  /// The cache with which a narrower submodel goes on where `wider` is. KV caches, which hold all
  /// KV heads, are shared; states are cut to the kept heads and channels. `wider` is used up.
  virtual std::unique_ptr<LayerCache> narrow_cache(const LayerContext& context,
                                                   const LayerActive<T>& from,
                                                   const LayerActive<T>& to,
                                                   LayerCache& wider) const = 0;
  /// The next L positions of each of B sequences (B, L of the context), the first of which is the
  /// `position`-th (from 0) of each. The cache is that of the positions before. Exact widths only
  /// (no masks), no segments. One position after the other gives the numbers of all in one call,
  /// to the bit where products do not depend on the number of rows.
  /// [in] u [B*L, D]
  /// [out] y [B*L, D], this rank's part of a sum as in Layer
  virtual void extend(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
                      index_t position, LayerCache& cache, View2<Accumulate<T>> y) const = 0;
};

/// Generation by a layer whose positions do not see each other: its forward pass, nothing to
/// remember.
template <class T>
class PositionwiseGeneration final : public GenerationLayer<T> {
 public:
  explicit PositionwiseGeneration(const Layer<T>& layer) : m_layer(layer) {}

  std::unique_ptr<LayerCache> make_cache(const LayerActive<T>&, index_t, index_t,
                                         index_t) const override {
    return std::make_unique<LayerCache>();
  }
  std::unique_ptr<LayerCache> narrow_cache(const LayerContext&, const LayerActive<T>&,
                                           const LayerActive<T>&, LayerCache&) const override {
    return std::make_unique<LayerCache>();
  }
  void extend(const LayerContext& context, const LayerActive<T>& active, View2<const T> u, index_t,
              LayerCache&, View2<Accumulate<T>> y) const override {
    const Arena::Scope scope(*context.arena);
    m_layer.forward(context, active, u, y, *m_layer.make_saved());
  }

 private:
  const Layer<T>& m_layer;
};

/// Position t of each sequence: [B, columns] of a compact matrix [B*L, columns].
template <class T>
View2<T> of_each_sequence(const View2<T>& all, index_t seq_length, index_t t) {
  const auto columns = static_cast<index_t>(all.extent(1));
  const View2<T> by_sequence(all.data(), static_cast<index_t>(all.extent(0)) / seq_length,
                             seq_length * columns);
  return Kokkos::subview(by_sequence, Kokkos::ALL, Range(t * columns, (t + 1) * columns));
}

}  // namespace elastic
