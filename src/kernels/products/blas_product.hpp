// SPDX-License-Identifier: Apache-2.0
// Products of one arithmetic type in the BLAS: by way of Kokkos Kernels where found, else CBLAS on
// a host. What neither multiplies takes the deterministic kernel. Internal to kernels/products.
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// c [M, N] = alpha op(a) op(b) + beta c; M, N > 0.
/// Returns false, with nothing done, if no BLAS here multiplies these matrices.
template <class T>
bool blas_product(const ExecutionSpace& exec, Transpose transpose_a, Transpose transpose_b, T alpha,
                  const View2<const T>& a, const View2<const T>& b, T beta, const View2<T>& c);

}  // namespace elastic::kernels
