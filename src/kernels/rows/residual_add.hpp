// SPDX-License-Identifier: Apache-2.0
// Joins a layer's output to the residual stream: h += gamma * m (.) y, with the gate gamma of the
// layer (depth) and the hidden mask m.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// The output y comes as values (Y = T), or as a sum that is not rounded yet (Y = Accumulate<T>).
/// joined = h + gamma m (.) y
/// [in] h, y [T, D], mask [D] or empty, gamma
/// [out] joined [T, D], may be the View h
template <class T, class Y = T>
void residual_add_forward(const ExecutionSpace& exec, In2<T> h, In2<Y> y, In1<Accumulate<T>> mask,
                          Accumulate<T> gamma, InOut2<T> joined);
/// In place. [in, out] h [T, D]
template <class T, class Y = T>
void residual_add_forward(const ExecutionSpace& exec, In2<Y> y, In1<Accumulate<T>> mask,
                          Accumulate<T> gamma, InOut2<T> h) {
  residual_add_forward<T, Y>(exec, h, y, mask, gamma, h);
}
/// dy = gamma m (.) dh,   dmask_j += gamma sum_t dh y,   dgamma += sum dh (m (.) y)
/// [in] dh, y [T, D]
/// [out] dy [T, D], may be the View y
/// [in, out] dmask [D] += or empty, dgamma [1] += or empty
template <class T, class Y = T>
void residual_add_backward(const ExecutionSpace& exec, In2<T> dh, In2<Y> y, In1<Accumulate<T>> mask,
                           Accumulate<T> gamma, InOut2<T> dy, InOut1<Accumulate<T>> dmask,
                           InOut1<Accumulate<T>> dgamma);

}  // namespace elastic::kernels
