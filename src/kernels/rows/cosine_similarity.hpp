// SPDX-License-Identifier: Apache-2.0
// How far the rows of two matrices point in the same direction.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// cosine_t = a_t . b_t / (|a_t| |b_t|); 1 where a_t = b_t = 0, and 0 where only one of them is.
/// [in] a, b [T, D]
/// [out] cosine [T]
template <class T>
void cosine_similarity(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                       InOut1<Accumulate<T>> cosine);

}  // namespace elastic::kernels
