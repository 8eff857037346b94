// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits, differentiated in place.
//
//   loss = sum_t w_t ( log sum_v exp(s_tv) - s_t,target ),    ds_tv = factor w_t ( softmax(s_t)_v - [v = target_t] )
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] targets [T], weight [T] (0: the row counts for nothing); [in, out] logits [T, V], on return `factor` * d loss/d logits (only
/// if `gradient`); row_loss [T] = w_t * loss_t on return.
template <class S>
void cross_entropy(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight, bool gradient,
                   std::type_identity_t<S> factor, InOut2<S> logits, InOut1<S> row_loss);

}  // namespace elastic::kernels
