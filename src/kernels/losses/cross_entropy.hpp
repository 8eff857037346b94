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

/// Rows of a chunk, and which of their columns the caller has: all in the one call. Weights are
/// float in every precision, as they come with the tokens; 0: the row counts for nothing.
struct CrossEntropyRows {
  View1<const token_t> targets;  ///< [T], words of the whole vocabulary
  View1<const float> weight;     ///< [T]
  Shard shard = {};              ///< the words on this rank
};

/// [in, out] logits [T, V]: on return `factor` * d loss/d logits (only if `gradient`)
/// [out] row_loss [T] = w_t * loss_t; NaN where the target is not in [0, V)
template <class T>
void cross_entropy(const ExecutionSpace& exec, const CrossEntropyRows& rows, bool gradient,
                   Accumulate<T> factor, InOut2<T> logits, InOut1<Accumulate<T>> row_loss);

/// Stage 1: the largest logit of each row among this rank's columns.
/// [in] logits [T, V']
/// [out] maximum [T]
template <class T>
void cross_entropy_maxima(const ExecutionSpace& exec, const CrossEntropyRows& rows, In2<T> logits,
                          InOut1<Accumulate<T>> maximum);
/// Stage 2: sum_v exp(s_tv - maximum_t), and s_t,target where this rank has it, else 0.
/// [in] logits [T, V'], maximum [T] over all ranks
/// [out] sums [T, 2]
template <class T>
void cross_entropy_sums(const ExecutionSpace& exec, const CrossEntropyRows& rows, In2<T> logits,
                        In1<Accumulate<T>> maximum, InOut2<Accumulate<T>> sums);
/// Stage 3: loss and gradient as in cross_entropy;
/// the row loss is that of the whole row on every rank.
/// [in] maximum, sums [T, 2] over all ranks
/// [in, out] logits [T, V']
/// [out] row_loss [T]
template <class T>
void cross_entropy_finish(const ExecutionSpace& exec, const CrossEntropyRows& rows,
                          In1<Accumulate<T>> maximum, In2<Accumulate<T>> sums, bool gradient,
                          Accumulate<T> factor, InOut2<T> logits, InOut1<Accumulate<T>> row_loss);

}  // namespace elastic::kernels
