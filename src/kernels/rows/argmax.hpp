// SPDX-License-Identifier: Apache-2.0
// The most likely token of each row of logits (greedy decoding); the first one on a tie;
// -1 for a row in which a logit is not finite.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] logits [B, V]; [out] index [B].
template <class T>
void argmax_rows(const ExecutionSpace& exec, In2<T> logits, InOut1<token_t> index);

}  // namespace elastic::kernels
