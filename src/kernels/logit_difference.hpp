// SPDX-License-Identifier: Apache-2.0
// How far two sets of logits lie apart: per row, the sum of squared differences and of squares.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// difference_t = sum_v (a_tv - b_tv)^2, norm_t = sum_v a_tv^2.  [in] a, b [T, V]; [out]
/// difference, norm [T].
template <class S>
void squared_difference(const ExecutionSpace& exec, In2<S> a, In2<S> b, InOut1<S> difference,
                        InOut1<S> norm);
/// max_t = max_v |a_tv - b_tv|.  [in] a, b [T, V]; [out] maximum [T].
template <class S>
void max_abs_difference(const ExecutionSpace& exec, In2<S> a, In2<S> b, InOut1<S> maximum);

}  // namespace elastic::kernels
