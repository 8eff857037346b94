// SPDX-License-Identifier: Apache-2.0
// The deterministic route of kernels/products/gemm: every element is one sum over k in rising
// order, starting from beta c, whatever M, N, the strides and the number of threads are. Rows
// of zeros appended to K change no bit. K in pieces, each added to the one before, gives the bits
// of K in one piece. Internal to kernels/products/gemm.cpp.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Describes op(A): element (i, j) is at data[i * row_stride + j * column_stride].
template <class T>
struct StridedMatrix {
  const T* data;
  index_t row_stride, column_stride;
  KOKKOS_INLINE_FUNCTION const T& operator()(index_t i, index_t j) const {
    return data[i * row_stride + j * column_stride];
  }
};

/// c [M, N] = alpha a b + beta c, a is [M, K], b is [K, N].
template <class T, class C = T>
void deterministic_product(const ExecutionSpace& exec, index_t depth, Accumulate<T> alpha,
                           StridedMatrix<T> a, StridedMatrix<T> b, Accumulate<T> beta,
                           std::type_identity_t<View2<C>> c);

}  // namespace elastic::kernels
