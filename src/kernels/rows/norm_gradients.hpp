// SPDX-License-Identifier: Apache-2.0
// Parameter gradients of the two norms: each block of tokens sums its own in the workspace,
// then blocks are added in order.
// Internal to kernels/rows/rmsnorm.cpp and kernels/rows/gated_rmsnorm.cpp.
#pragma once
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

/// The sums of one block: weight and mask [width], scale [groups].
template <class T>
struct NormGradients {
  T *weight, *mask, *scale;
  index_t size;
  KOKKOS_INLINE_FUNCTION NormGradients(T* workspace, index_t block, index_t width, index_t groups)
      : weight(workspace + block * (2 * width + groups)),
        mask(weight + width),
        scale(mask + width),
        size(2 * width + groups) {}
  KOKKOS_INLINE_FUNCTION void clear() const {
    for (index_t i = 0; i < size; ++i) weight[i] = T(0);
  }
};

inline index_t norm_gradients_size(index_t tokens, index_t width, index_t groups = 1) {
  return num_row_blocks(tokens) * (2 * width + groups);
}

/// Adds all blocks to dweight, dmask [width] and dscale [groups] of the gradients, where not empty.
template <class T, class Gradients>
void add_norm_gradients(const ExecutionSpace& exec, const View1<T>& workspace, index_t blocks,
                        index_t width, const Gradients& gradients, index_t groups = 1) {
  const NormGradients<T> first(workspace.data(), 0, width, groups);
  const index_t stride = first.size;
  add_block_sums<T>(exec, first.weight, blocks, stride, gradients.dweight);
  add_block_sums<T>(exec, first.mask, blocks, stride, gradients.dmask);
  add_block_sums<T>(exec, first.scale, blocks, stride, gradients.dscale);
}

}  // namespace elastic::kernels
