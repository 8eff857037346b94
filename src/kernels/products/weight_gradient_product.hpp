// SPDX-License-Identifier: Apache-2.0
// C += A^T B of bfloat16 matrices with sums of 32 bits, the product of a weight gradient, on the
// matrix units of a processor. oneDNN 2.6 transposes A element by element; here blocks of A and B
// are packed by whole vectors first, 1.5 times as fast in all (doc/performance.md).
// Internal to kernels/products.
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// Whether weight_gradient_product takes this product and is the fastest for it.
bool suits_weight_gradient_product(index_t m, index_t n, index_t depth,
                                   const StridedMatrix<bfloat16>& a,
                                   const StridedMatrix<bfloat16>& b);

/// c [M, N] = a b + beta c, beta 0 or 1; a [M, K] lies transposed in memory, b [K, N] does not; M
/// and N are multiples of 16. Each element is added up over k in rising order from beta c,
/// rounded as kernels/products/matrix_tiles says, whatever the number of threads is.
void weight_gradient_product(const ExecutionSpace& exec, index_t depth,
                             const StridedMatrix<bfloat16>& a, const StridedMatrix<bfloat16>& b,
                             float beta, const View2<float>& c);

}  // namespace elastic::kernels
