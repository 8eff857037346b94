// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of student logits from teacher logits (Hinton et al. 2015), differentiated
// in place. There is no factor tau^2, as in Megatron's distillation.
//
//   p            = softmax(teacher / tau)
//   q            = softmax(student / tau)
//   loss         = sum_t w_t sum_v p_tv (log p_tv - log q_tv)
//   d student_tv = factor w_t (q_tv - p_tv) / tau
//
// All sums of a row are formed at once: with a = (teacher - max) / tau and b = (student - max) /
// tau, each with the maximum of its row,
//
//   loss_t = sum_v e^a (a - b) / sum_v e^a - log sum_v e^a + log sum_v e^b
//
// One call does it where a rank has all columns. Where the vocabulary is sharded (base/shard.hpp)
// there are three stages, and the caller takes maxima and sums over the ranks between them:
//
//   kl_divergence_maxima   then the maximum over ranks
//   kl_divergence_sums     then the sum over ranks
//   kl_divergence_finish
//
// Sums paired over ranks at distances t/2, .., 1 give the bits of the one call for t = 2, 4, 8
// (kernels/losses/row_softmax.hpp). Rows with weight 0 are not looked at.
#pragma once
#include "base/shard.hpp"
#include "base/types.hpp"

namespace elastic::kernels {

/// Rows of a chunk with the teacher's logits, and which of their columns the caller has: all in the
/// one call. Weights are float in every precision, as they come with the tokens; 0: the row counts
/// for nothing.
template <class T>
struct KlDivergenceRows {
  View2<const T> teacher;     ///< [T, V]
  View1<const float> weight;  ///< [T]
  double temperature = 1;     ///< tau
  Shard shard = {};           ///< the words on this rank
};

/// [in, out] student [T, V]: on return `factor` * d loss/d student (only if `gradient`)
/// [out] row_loss [T] = w_t * loss_t
template <class T>
void kl_divergence(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows, bool gradient,
                   Accumulate<T> factor, InOut2<T> student, InOut1<Accumulate<T>> row_loss);

/// Stage 1: the largest logits of the rows of teacher and student among this rank's columns.
/// [in] student [T, V']
/// [out] maxima [T, 2]
template <class T>
void kl_divergence_maxima(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows,
                          In2<T> student, InOut2<Accumulate<T>> maxima);
/// Stage 2: sums of e^a, e^b and e^a (a - b).
/// [in] student [T, V'], maxima [T, 2] over all ranks
/// [out] sums [T, 3]
template <class T>
void kl_divergence_sums(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows, In2<T> student,
                        In2<Accumulate<T>> maxima, InOut2<Accumulate<T>> sums);
/// Stage 3: loss and gradient as in kl_divergence;
/// the row loss is that of the whole row on every rank.
/// [in] maxima [T, 2] and sums [T, 3] over all ranks
/// [in, out] student [T, V']
/// [out] row_loss [T]
template <class T>
void kl_divergence_finish(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows,
                          In2<Accumulate<T>> maxima, In2<Accumulate<T>> sums, bool gradient,
                          Accumulate<T> factor, InOut2<T> student, InOut1<Accumulate<T>> row_loss);

}  // namespace elastic::kernels
