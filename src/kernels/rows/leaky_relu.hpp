// SPDX-License-Identifier: Apache-2.0
// LeakyReLU of the router: y = x for x > 0, slope * x otherwise.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] x [M, N]; [out] y [M, N].
template <class T>
void leaky_relu_forward(const ExecutionSpace& exec, In2<T> x, Accumulate<T> slope, InOut2<T> y);
/// dx = dy * (x > 0 ? 1 : slope)
/// [in] dy, x [M, N]
/// [out] dx [M, N] (may be dy)
template <class T>
void leaky_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, Accumulate<T> slope,
                         InOut2<T> dx);

}  // namespace elastic::kernels
