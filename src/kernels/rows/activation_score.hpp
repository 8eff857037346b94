// SPDX-License-Identifier: Apache-2.0
// Importance of columns by their activations: score_c += sum_b ( mean_t |x_{b,t,c}| )^2 over sequences b, or its sum-of-|x| form.
// Minitron (arXiv 2407.14679) section 2.2: mean over the sequence, L2 over the batch, gave the best rankings.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] x [B*L, C]; [in, out] score [C] +=. The norm over batches is the square root of the accumulated score.
template <class T>
void activation_score(const ExecutionSpace& exec, In2<T> x, index_t seq_length, InOut1<T> score);
/// Sums over everything, as the paper's formulas state it: score_c += sum_{b,t} |x_{b,t,c}|.
template <class T>
void activation_sum(const ExecutionSpace& exec, In2<T> x, InOut1<T> score);

}  // namespace elastic::kernels
