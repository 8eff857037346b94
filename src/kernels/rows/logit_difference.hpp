// SPDX-License-Identifier: Apache-2.0
// How far two sets of logits lie apart: per row, the sum of squared differences and of squares.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// difference_t = sum_v (a_tv - b_tv)^2,   norm_t = sum_v a_tv^2
/// [in] a, b [T, V]
/// [out] difference, norm [T]
template <class T>
void squared_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> difference, InOut1<Accumulate<T>> norm);
/// max_t = max_v |a_tv - b_tv|
/// [in] a, b [T, V]
/// [out] maximum [T]
template <class T>
void max_abs_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> maximum);

}  // namespace elastic::kernels
