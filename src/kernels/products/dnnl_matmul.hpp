// SPDX-License-Identifier: Apache-2.0
// Products of oneDNN's matmul primitive on the host: bfloat16 with fp32 sums, and strided batches.
//
// Operands with gaps between their rows and transposes are read in place. A primitive belongs
// to extents, strides and types; each thread keeps the ones it used last, up to a limit, with
// one scratch memory for all of them. Internal to kernels/products.
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// Whether this route multiplies T at speed here: float where oneDNN is, bfloat16 if the processor
/// has bf16 instructions as well (oneDNN's code for others is slower than our own).
template <class T>
bool has_matmul();

/// c = alpha a b + beta c for each product of the batch; c [M, N], a is [M, K], b is [K, N].
/// M, N, K > 0; alpha != 0; beta = 0 overwrites. Throws RunError if oneDNN fails.
template <class T, class C>
void matmul_products(BatchCount count, index_t depth, Accumulate<T> alpha, StridedMatrix<T> a,
                     StridedMatrix<T> b, Accumulate<T> beta, MatrixBatch<C> c);

}  // namespace elastic::kernels
