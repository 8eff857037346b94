// SPDX-License-Identifier: Apache-2.0
// Where the operands of a product lie: transposes and batches of equal matrices as strides.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

enum class Transpose { no, yes };

/// A batch is a grid of products, such as chunks x heads.
struct BatchCount {
  index_t outer = 1, inner = 1;
  index_t products() const { return outer * inner; }
};
/// In elements. 0: all products share the matrix (inputs only).
struct BatchStride {
  index_t outer = 0, inner = 0;
};
/// Matrix (p, q) of a batch begins p * outer + q * inner elements after `first`, whose extents
/// and leading dimension all matrices have.
template <class T>
struct MatrixBatch {
  View2<T> first;
  BatchStride stride = {};
};

/// Describes op(A): element (i, j) is at data[i * row_stride + j * column_stride].
template <class T>
struct StridedMatrix {
  const T* data;
  index_t row_stride, column_stride;
  BatchStride batch = {};
  KOKKOS_INLINE_FUNCTION const T& operator()(index_t i, index_t j) const {
    return data[i * row_stride + j * column_stride];
  }
  /// op(A) of product (p, q) of a batch.
  KOKKOS_INLINE_FUNCTION StridedMatrix at(index_t p, index_t q) const {
    return {data + p * batch.outer + q * batch.inner, row_stride, column_stride, {}};
  }
};
template <class T>
StridedMatrix<T> operand(const View2<const T>& view, Transpose transpose, BatchStride batch = {}) {
  const index_t ld = leading_dimension(view);
  return transpose == Transpose::yes ? StridedMatrix<T>{view.data(), 1, ld, batch}
                                     : StridedMatrix<T>{view.data(), ld, 1, batch};
}

}  // namespace elastic::kernels
