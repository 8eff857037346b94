// SPDX-License-Identifier: Apache-2.0
// The same numbers in another type: sums rounded to values, or values widened to sums.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// to_ij = from_ij, rounded to nearest where To is narrower than From. For To and From of one
/// precision: T and Accumulate<T>.
/// [in] from [M, N]
/// [out] to [M, N]
template <class To, class From>
void convert(const ExecutionSpace& exec, In2<From> from, InOut2<To> to);

}  // namespace elastic::kernels
