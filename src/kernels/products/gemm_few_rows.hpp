// SPDX-License-Identifier: Apache-2.0
// The route of kernels/products/gemm for a few rows times a transposed weight, on a host:
// what generation does. Every row of the weight is read once, at the speed of the memory.
// The sum of an element depends on K alone, so that a position gives equal bits alone and among
// others of a block (speculative decoding compares the two). Internal to kernels/products/gemm.cpp.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// This route is taken for at most so many rows of A.
inline constexpr index_t few_rows = 16;

/// c [M, N] = alpha a b^T + beta c; a [M, K], b [N, K].
template <class T, class C = T>
void few_rows_product(const ExecutionSpace& exec, Accumulate<T> alpha, In2<T> a, In2<T> b,
                      Accumulate<T> beta, InOut2<C> c);

}  // namespace elastic::kernels
