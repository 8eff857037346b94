// SPDX-License-Identifier: Apache-2.0
// Joins a layer's output to the residual stream: h += gamma * m (.) y, with depth gate gamma and hidden mask m.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] y [T, D], mask [D] or empty, gamma; [in, out] h [T, D].
template <class S>
void residual_add_forward(const ExecutionSpace& exec, In2<S> y, In1<S> mask, std::type_identity_t<S> gamma, InOut2<S> h);
/// dy = gamma m (.) dh;  dmask_j += gamma sum_t dh y;  dgamma += sum dh (m (.) y).
/// [in] dh, y [T, D]; [out] dy [T, D], may be the same View as y; [in, out] dmask [D] += or empty, dgamma [1] += or empty.
template <class S>
void residual_add_backward(const ExecutionSpace& exec, In2<S> dh, In2<S> y, In1<S> mask, std::type_identity_t<S> gamma,
                           InOut2<S> dy, InOut1<S> dmask, InOut1<S> dgamma);

}  // namespace elastic::kernels
