// SPDX-License-Identifier: Apache-2.0
// The route of kernels/gemm for a few rows times a transposed weight, on a host: what generation
// does. Every row of the weight is read once, at the speed of the memory. The sum of an element
// depends on K alone, so that a position gives the same bits alone and among others of a block
// (speculative decoding compares the two). Internal to kernels/gemm.cpp.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Rows of A up to which this route is taken.
inline constexpr index_t few_rows = 16;

/// c [M, N] = alpha a b^T + beta c; a [M, K], b [N, K].
template <class S>
void few_rows_product(const ExecutionSpace& exec, std::type_identity_t<S> alpha, In2<S> a, In2<S> b,
                      std::type_identity_t<S> beta, InOut2<S> c);

}  // namespace elastic::kernels
