// SPDX-License-Identifier: Apache-2.0
// Linear maps without bias on prefixes of a weight matrix W [out, in]: y = x W^T.
//
// Units are blocks of `block` rows (columns) of which the first `active` count: P channels of a
// Mamba head, or everything with active = block. Whole blocks are one product; cut blocks are one
// product per block. Nothing is copied. Sums over blocks that are dealt out to ranks: unit_sum.hpp.
#pragma once
#include "base/types.hpp"

namespace elastic {

/// Which rows (columns) of a weight are used.
struct Blocks {
  index_t count = 1;   ///< blocks used
  index_t block = 0;   ///< rows of a block in the parent
  index_t active = 0;  ///< rows used of each
  /// The first n rows as one block.
  static Blocks prefix(index_t n) { return {1, n, n}; }
  /// The first n units of `size` rows.
  static Blocks units(index_t n, index_t size = 1) { return {n, size, size}; }
  index_t size() const { return count * active; }
  /// These rows in as few blocks as possible.
  Blocks merged() const { return active == block ? prefix(count * block) : *this; }
};

/// Output rows in blocks: y [T, out.size()] = x [T, D] W[out, :D]^T.
template <class T>
void linear_forward(const ExecutionSpace& exec, View2<const T> x, const View2<T>& weight,
                    Blocks out, const View2<T>& y);
/// Weight gradient of linear_forward: dW[out, :D] += dy^T x.
template <class T>
void linear_weight_gradient(const ExecutionSpace& exec, View2<const T> dy, View2<const T> x,
                            const View2<T>& dweight, Blocks out);
/// Input columns in blocks (the forward pass is UnitSum::add_columns):
/// dx [T, in.size()] = dy W, dW[:D, in] += dy^T x.
template <class T>
void linear_blocked_input_backward(const ExecutionSpace& exec, View2<const T> dy, View2<const T> x,
                                   const View2<T>& weight, const View2<T>& dweight, Blocks in,
                                   const View2<T>& dx);

}  // namespace elastic
