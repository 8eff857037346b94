// SPDX-License-Identifier: Apache-2.0
// Soft mask on heads: y[t, a*C + c] = m_a x[t, a*C + c].
// With C = 1 it is a mask on single channels.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] x [T, A*C], mask [A]
/// [out] y [T, A*C], may be the View x
template <class T>
void column_scale_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          index_t block, InOut2<T> y);
/// dx = m dy (dx may be the View dy); dmask_a += sum_{t,c} x dy. x is the input of the forward.
template <class T>
void column_scale_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<Accumulate<T>> mask,
                           index_t block, InOut2<T> dx, InOut1<Accumulate<T>> dmask);

}  // namespace elastic::kernels
