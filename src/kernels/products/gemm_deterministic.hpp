// SPDX-License-Identifier: Apache-2.0
// The deterministic route of kernels/products/gemm: every element is one sum over k in rising
// order, starting from beta c, whatever M, N, the strides and the number of threads are. Rows
// of zeros appended to K change no bit. K in pieces, each added to the one before, gives the bits
// of K in one piece, where C keeps all bits of a sum. Internal to kernels/products.
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// c [M, N] = alpha a b + beta c, a is [M, K], b is [K, N].
template <class T, class C = T>
void deterministic_product(const ExecutionSpace& exec, index_t depth, Accumulate<T> alpha,
                           StridedMatrix<T> a, StridedMatrix<T> b, Accumulate<T> beta,
                           std::type_identity_t<View2<C>> c);
/// The products of a batch, each with the bits that it has alone.
template <class T, class C = T>
void deterministic_products(const ExecutionSpace& exec, BatchCount count, index_t depth,
                            Accumulate<T> alpha, StridedMatrix<T> a, StridedMatrix<T> b,
                            Accumulate<T> beta, std::type_identity_t<MatrixBatch<C>> c);

}  // namespace elastic::kernels
