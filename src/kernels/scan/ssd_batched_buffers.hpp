// SPDX-License-Identifier: Apache-2.0
// Buffers of the chunked scan by batched products: those of one batch of chunks c and the heads r
// of one group at a time. Internal to the kernels of this folder.
#pragma once
#include "kernels/scan/ssd_batched.hpp"
#include "kernels/scan/ssd_batches.hpp"

namespace elastic::kernels {

/// A tile of pairs (i, j) of a chunk, whose contributions to sums over i and j are added up first.
inline constexpr index_t pair_rows = 8, pair_columns = device_lanes;
KOKKOS_INLINE_FUNCTION constexpr index_t tiles(index_t count, index_t width) {
  return (count + width - 1) / width;
}

/// Forward pass of the states.
template <class T>
struct StateBuffers {
  using A = Accumulate<T>;
  HeadFactors<A> factors;
  T* scaled_x;  ///< [c, Q, r*P] to_end Delta x

  StateBuffers(ScratchCarver& carver, const SsdShape& shape, const BatchExtents& e)
      : factors(carver, shape), scaled_x(carver.take<T>(e.chunks * e.rows * e.channels())) {}
  StateBuffers(ScratchCarver& carver, const SsdShape& shape)
      : StateBuffers(carver, shape, BatchExtents(shape)) {}
};

/// Forward pass of the outputs.
template <class T>
struct OutputBuffers {
  using A = Accumulate<T>;
  HeadFactors<A> factors;
  A* scores;   ///< [c, Q, Q] C_i . B_j
  T* weights;  ///< [c, r, Q, Q + N]: of x_j, and from_start C
  T* values;   ///< [c, r, Q + N, P]: x, and S^T

  OutputBuffers(ScratchCarver& carver, const SsdShape& shape, const BatchExtents& e)
      : factors(carver, shape),
        scores(carver.take<A>(e.chunks * e.rows * e.rows)),
        weights(carver.take<T>(e.chunks * e.group_heads * e.rows * (e.rows + e.state_dim))),
        values(carver.take<T>(e.chunks * e.channels() * (e.rows + e.state_dim))) {}
  OutputBuffers(ScratchCarver& carver, const SsdShape& shape)
      : OutputBuffers(carver, shape, BatchExtents(shape)) {}
};

/// Backward pass of the outputs.
template <class T>
struct OutputGradientBuffers {
  using A = Accumulate<T>;
  HeadFactors<A> factors;
  A* scores;       ///< [c, Q, Q] C_i . B_j
  A* dweights;     ///< [c, r, Q, Q] dy_i . x_j
  T* weights;      ///< [c, r, Q, Q] of x_j, with D on the diagonal
  T* dscores;      ///< [c, Q, Q] summed over the heads
  A* column_sums;  ///< [c, r, Q/8, Q] of pairs: gradients by Delta_j, summed over 8 rows i
  A* corner_sums;  ///< [c, r, Q, Q/32] of pairs: over the rows from t on of its 8, columns before t
  A* of_skip;      ///< [c, r, Q] dy_i . x_i
  A* of_state;     ///< [c, r, Q] dy_i . (from_start_i S C_i)
  T* states;       ///< [c, r*P, N] S
  A* state_outputs;  ///< [c, Q, r*P] S C_i
  T* scaled_dy;      ///< [c, Q, r*P] from_start dy
  A* dC;             ///< [c, Q, N]

  OutputGradientBuffers(ScratchCarver& carver, const SsdShape& shape, const BatchExtents& e)
      : factors(carver, shape),
        scores(carver.take<A>(e.chunks * e.rows * e.rows)),
        dweights(carver.take<A>(e.chunks * e.group_heads * e.rows * e.rows)),
        weights(carver.take<T>(e.chunks * e.group_heads * e.rows * e.rows)),
        dscores(carver.take<T>(e.chunks * e.rows * e.rows)),
        column_sums(carver.take<A>(e.chunks * e.group_heads * tiles(e.rows, pair_rows) * e.rows)),
        corner_sums(
            carver.take<A>(e.chunks * e.group_heads * tiles(e.rows, pair_columns) * e.rows)),
        of_skip(carver.take<A>(e.chunks * e.group_heads * e.rows)),
        of_state(carver.take<A>(e.chunks * e.group_heads * e.rows)),
        states(carver.take<T>(e.chunks * e.channels() * e.state_dim)),
        state_outputs(carver.take<A>(e.chunks * e.rows * e.channels())),
        scaled_dy(carver.take<T>(e.chunks * e.rows * e.channels())),
        dC(carver.take<A>(e.chunks * e.rows * e.state_dim)) {}
  OutputGradientBuffers(ScratchCarver& carver, const SsdShape& shape)
      : OutputGradientBuffers(carver, shape, BatchExtents(shape)) {}
};

/// Backward pass of the states.
template <class T>
struct StateGradientBuffers {
  using A = Accumulate<T>;
  HeadFactors<A> factors;
  T* scaled_x;  ///< [c, Q, r*P] to_end Delta x
  T* dZ;        ///< [c, r*P, N]
  A* of_x;      ///< [c, Q, r*P] dZ B_j
  A* of_decay;  ///< [c, r*P] rows of <S, dZ>
  A* of_step;   ///< [c, r, Q] to_end_j x_j . dZ B_j

  StateGradientBuffers(ScratchCarver& carver, const SsdShape& shape, const BatchExtents& e)
      : factors(carver, shape),
        scaled_x(carver.take<T>(e.chunks * e.rows * e.channels())),
        dZ(carver.take<T>(e.chunks * e.channels() * e.state_dim)),
        of_x(carver.take<A>(e.chunks * e.rows * e.channels())),
        of_decay(carver.take<A>(e.chunks * e.channels())),
        of_step(carver.take<A>(e.chunks * e.group_heads * e.rows)) {}
  StateGradientBuffers(ScratchCarver& carver, const SsdShape& shape)
      : StateGradientBuffers(carver, shape, BatchExtents(shape)) {}
};

/// What the kernels between products need of a call: its extents and those of a batch.
struct BatchKernel {
  SsdShape shape;
  ChunkBatch batch;
  index_t rows, heads;  ///< Q' of the buffers, heads of a group

  BatchKernel(const SsdShape& s, const ChunkBatch& b)
      : shape(s),
        batch(b),
        rows(math::min(s.chunk_size, s.seq_length)),
        heads(s.num_heads / s.num_groups) {}
  KOKKOS_INLINE_FUNCTION index_t channels() const { return heads * shape.head_dim; }
  /// The head of rank r in the group.
  KOKKOS_INLINE_FUNCTION index_t head(index_t r) const {
    return r * shape.num_groups + batch.group;
  }
};

/// scaled_x = to_end Delta x of a batch, [c, Q, r*P].
template <class T>
void scale_inputs(const ExecutionSpace& exec, const SsdShape& shape, const ChunkBatch& batch,
                  const View2<const T>& x, const HeadFactors<Accumulate<T>>& factors, T* scaled_x);

}  // namespace elastic::kernels
