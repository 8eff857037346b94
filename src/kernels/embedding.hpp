// SPDX-License-Identifier: Apache-2.0
// Word embeddings: y_t = W[token_t]. Backward sums rows in the order of the tokens (no atomics).
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] tokens [T] ids in [0, V), weight [V, D]; [out] y [T, D].
template <class S>
void embedding_forward(const ExecutionSpace& exec, In1<token_t> tokens, In2<S> weight, InOut2<S> y);
/// dW[token_t] += dy_t.  [in] tokens [T], dy [T, D]; [in, out] dweight [V, D].
template <class S>
void embedding_backward(const ExecutionSpace& exec, In1<token_t> tokens, In2<S> dy, InOut2<S> dweight);

}  // namespace elastic::kernels
