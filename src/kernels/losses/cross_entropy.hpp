// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits, differentiated in place.
//
//   loss  = sum_t w_t ( log sum_v exp(s_tv) - s_t,target )
//   ds_tv = factor w_t ( softmax(s_t)_v - [v = target_t] )
//
// One call does it where a rank has all columns. Where the vocabulary is sharded (base/shard.hpp)
// there are three stages, and the caller takes maxima and sums over the ranks between them:
//
//   cross_entropy_maxima   then the maximum over ranks
//   cross_entropy_sums     then the sum over ranks
//   cross_entropy_finish
//
// Sums paired over ranks at distances t/2, .., 1 give the bits of the one call for t = 2, 4, 8
// (kernels/losses/row_softmax.hpp). Rows with weight 0 are not looked at.
#pragma once
#include "base/shard.hpp"
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] targets [T], weight [T] (0: the row counts for nothing)
/// [in, out] logits [T, V]: on return `factor` * d loss/d logits (only if `gradient`)
/// [out] row_loss [T] = w_t * loss_t; NaN where the target is not in [0, V)
template <class T>
void cross_entropy(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                   bool gradient, std::type_identity_t<T> factor, InOut2<T> logits,
                   InOut1<T> row_loss);

/// Stage 1: the largest logit of each row among this rank's columns.
/// [in] weight [T], logits [T, V']
/// [out] maximum [T]
template <class T>
void cross_entropy_maxima(const ExecutionSpace& exec, In1<float> weight, In2<T> logits,
                          InOut1<T> maximum);
/// Stage 2: sum_v exp(s_tv - maximum_t), and s_t,target where this rank has it, else 0.
/// [in] targets [T] (words of the whole vocabulary), weight [T], logits [T, V'],
///      maximum [T] over all ranks
/// [out] sums [T, 2]
template <class T>
void cross_entropy_sums(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                        const Shard& shard, In2<T> logits, In1<T> maximum, InOut2<T> sums);
/// Stage 3: loss and gradient as in cross_entropy;
/// the row loss is that of the whole row on every rank.
/// [in] targets, weight, maximum, sums [T, 2] over all ranks
/// [in, out] logits [T, V']
/// [out] row_loss [T]
template <class T>
void cross_entropy_finish(const ExecutionSpace& exec, In1<token_t> targets, In1<float> weight,
                          const Shard& shard, In1<T> maximum, In2<T> sums, bool gradient,
                          std::type_identity_t<T> factor, InOut2<T> logits, InOut1<T> row_loss);

}  // namespace elastic::kernels
