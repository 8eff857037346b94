// SPDX-License-Identifier: Apache-2.0
// Products of the library that knows the machine best, single and in strided batches, with
// bfloat16 operands and fp32 sums among them. One of
//
//   oneDNN   on a host     dnnl_matmul.cpp
//   cuBLAS   on CUDA       cublas_matmul.cpp
//
// Operands with gaps between their rows and transposes are read in place.
// Internal to kernels/products.
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// Whether this route multiplies T at speed here. oneDNN: float; bfloat16 if the processor has bf16
/// instructions (its code for others is slower than our own). cuBLAS: all types.
template <class T>
bool has_matmul();

/// c = alpha a b + beta c for each product of the batch; c [M, N], a is [M, K], b is [K, N].
/// M, N, K > 0; alpha != 0; beta = 0 overwrites. Throws RunError if the library fails.
template <class T, class C>
void matmul_products(const ExecutionSpace& exec, BatchCount count, index_t depth,
                     Accumulate<T> alpha, StridedMatrix<T> a, StridedMatrix<T> b,
                     Accumulate<T> beta, MatrixBatch<C> c);

/// All types that gemm asks for. The one file that a build takes ends with this.
#define ELASTIC_LIBRARY_PRODUCTS(T, C)                                                           \
  template void matmul_products<T, C>(const ExecutionSpace&, BatchCount, index_t, Accumulate<T>, \
                                      StridedMatrix<T>, StridedMatrix<T>, Accumulate<T>,         \
                                      MatrixBatch<C>);
#define ELASTIC_INSTANTIATE_LIBRARY_PRODUCTS   \
  template bool has_matmul<bfloat16>();        \
  template bool has_matmul<float>();           \
  template bool has_matmul<double>();          \
  ELASTIC_LIBRARY_PRODUCTS(float, float)       \
  ELASTIC_LIBRARY_PRODUCTS(double, double)     \
  ELASTIC_LIBRARY_PRODUCTS(bfloat16, bfloat16) \
  ELASTIC_LIBRARY_PRODUCTS(bfloat16, float)

}  // namespace elastic::kernels
