// SPDX-License-Identifier: Apache-2.0
// Importance of columns by their activations. The mean over the sequence and the L2 norm over
// the batch gave the best rankings (Minitron, arXiv 2407.14679, section 2.2).
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// score_c += sum_b ( mean_t |x_{b,t,c}| )^2 over sequences b. The norm over all batches is the
/// square root of the accumulated score.
/// [in] x [B*L, C]
/// [in] share [B*L]: the mean of a sequence is sum_t share_{b,t} |x_{b,t,c}|; without it 1/L each
/// [in, out] score [C] +=
template <class T>
void activation_score(const ExecutionSpace& exec, In2<T> x, index_t seq_length,
                      InOut1<Accumulate<T>> score, In1<float> share = {});
/// score_c += sum_{b,t} |x_{b,t,c}|: plain sums, as in the formulas of Nemotron Elastic (arXiv
/// 2511.16664). Shapes as above.
/// [in] weight [B*L] of the terms; without it all are 1
template <class T>
void activation_sum(const ExecutionSpace& exec, In2<T> x, InOut1<Accumulate<T>> score,
                    In1<float> weight = {});

}  // namespace elastic::kernels
