// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of student logits from distributions of which k words and the mass of all
// others are known (top_words.hpp), differentiated in place. It is the KL of both distributions
// with all other words seen as one, a lower bound of that over all words (Cover and Thomas,
// Elements of Information Theory, section 2.7), and equal to it where nothing is left.
//
//   p_i, r   = e^log_p_i, e^log_rest, divided by their sum
//   q        = softmax(student / tau),   q_rest = sum of q over all other words
//   loss     = sum_t w_t (sum_i p_i (log p_i - log q_i) + r (log r - log q_rest))
//   gradient = factor w_t / tau * (q_v - p_v)               of a known word
//              factor w_t / tau * q_v / q_rest (q_rest - r)  of another one
//
// q_rest is a sum with a maximum of its own, not 1 minus that of the known. The logits of the known
// words are therefore taken out of the row first, and their places hold -inf; the rest of a row is
// then an ordinary softmax. With b = (z - max) / tau and c = (z - max of the others) / tau,
//
//   loss_t = sum_i p_i (log p_i - b_i) + log S + r (log r - log q_rest S)
//   S      = sum_i e^b_i + q_rest S,   q_rest S = e^((max of the others - max) / tau) sum e^c
//
// Stages, between which the caller takes maxima and sums over the ranks of a sharded vocabulary:
//
//   top_words_kl_maxima   then the maximum over ranks
//   top_words_kl_sums     then the sum over ranks
//   top_words_kl_finish
//
// Sums paired over ranks at distances t/2, .., 1 have equal bits for t = 1, 2, 4, 8. Rows with
// weight 0 are not looked at.
#pragma once
#include "base/shard.hpp"
#include "kernels/losses/top_words.hpp"

namespace elastic::kernels {

/// Rows of a chunk: what the teacher says of them, and which columns the caller has.
struct TopWordsRows {
  TopWords teacher;           ///< [T, k], ids of all words
  View1<const float> weight;  ///< [T]; 0: the row counts for nothing
  double temperature = 1;     ///< tau
  Shard shard = {};           ///< the words on this rank
};

/// Stage 1: takes the logits of known words out.
/// [in, out] student [T, V']
/// [out] known [T, k]: the logits of known words of this rank
/// [out] maxima [T, 2]: of known and of other words of this rank
template <class T>
void top_words_kl_maxima(const ExecutionSpace& exec, const TopWordsRows& rows, InOut2<T> student,
                         InOut2<Accumulate<T>> known, InOut2<Accumulate<T>> maxima);
/// Stage 2: sums over words of this rank of e^b, e^c and p (log p - b).
/// [in] student [T, V'] and known [T, k] of stage 1, maxima [T, 2] over all ranks
/// [out] sums [T, 3]
template <class T>
void top_words_kl_sums(const ExecutionSpace& exec, const TopWordsRows& rows, In2<T> student,
                       In2<Accumulate<T>> known, In2<Accumulate<T>> maxima,
                       InOut2<Accumulate<T>> sums);
/// What stages 1 and 2 leave, maxima and sums over all ranks.
template <class T>
struct TopWordsKlSaved {
  View2<const Accumulate<T>> known, maxima, sums;  ///< [T, k], [T, 2], [T, 3]
};
/// Stage 3: loss and gradient; the row loss is that of the whole row on every rank.
/// [in, out] student [T, V']: on return `factor` * d loss/d student
/// [out] row_loss [T] = w_t * loss_t
template <class T>
void top_words_kl_finish(const ExecutionSpace& exec, const TopWordsRows& rows,
                         const TopWordsKlSaved<T>& saved, Accumulate<T> factor, InOut2<T> student,
                         InOut1<Accumulate<T>> row_loss);

}  // namespace elastic::kernels
