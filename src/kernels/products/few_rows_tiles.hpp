// SPDX-License-Identifier: Apache-2.0
// The product of gemm_few_rows for bfloat16 where a processor has units for it: rows of the weight
// are one operand as they lie in memory, the few rows of A are packed once as the other. One row or
// sixteen then take the time that reading the weight takes. Internal to kernels/products.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Whether few_rows_by_tiles takes products of this depth on this machine. It depends on nothing
/// else, so that all rows and columns of a product, and parts of it, have the same bits.
bool few_rows_by_tiles_takes(index_t depth);

/// c [M, N] = alpha a b^T + beta c; a [M, K], b [N, K], M <= 16, K a multiple of 32.
template <class C>
void few_rows_by_tiles(const ExecutionSpace& exec, float alpha, In2<bfloat16> a, In2<bfloat16> b,
                       float beta, InOut2<C> c);

}  // namespace elastic::kernels
