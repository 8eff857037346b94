// SPDX-License-Identifier: Apache-2.0
// Squared ReLU of the MLP (So et al. 2021, Primer), elastic in its width: y_f = relu(m_f x_f)^2,
// with the mask before the activation.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] x [T, F], mask [F] or empty
/// [out] y [T, F]
template <class T>
void squared_relu_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          InOut2<T> y);
/// dx = 2 m relu(m x) dy,   dmask_f += sum_t 2 relu(m x) x dy
/// [in] dy, x [T, F], mask [F] or empty
/// [out] dx [T, F], may be the View dy
/// [in, out] dmask [F] += or empty
template <class T>
void squared_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<Accumulate<T>> mask,
                           InOut2<T> dx, InOut1<Accumulate<T>> dmask);

}  // namespace elastic::kernels
