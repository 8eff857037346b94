// SPDX-License-Identifier: Apache-2.0
// The likeliest words of each token and what is left: a distribution over V words in k numbers and
// one mass.
//
//   log_p_v  = log softmax(logits / tau)_v        of the k likeliest words
//   log_rest = log sum of the probabilities of all others; -inf where there are none
//
// The words of a token rise. Of words with equal logits the first ones are taken, so that the
// choice depends on the logits alone. The mass of the others is a sum of its own, not 1 minus that
// of the k. Numbers are rounded to bfloat16: log p to 2^-9 of itself.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Rows of such distributions.
struct TopWords {
  View2<const token_t> ids;        ///< [T, k], rising in a row
  View2<const bfloat16> log_p;     ///< [T, k], at most 0
  View1<const bfloat16> log_rest;  ///< [T], at most 0
  bool empty() const { return ids.extent(0) == 0; }
};

/// Where top_words writes.
struct TopWordsOut {
  View2<token_t> ids;        ///< [T, k], 1 <= k <= V
  View2<bfloat16> log_p;     ///< [T, k]
  View1<bfloat16> log_rest;  ///< [T]
};

/// [in] logits [T, V] of all words
/// [out] the k likeliest words of each row; NaN in all of log_p where a logit is not finite
template <class T>
void top_words(const ExecutionSpace& exec, In2<T> logits, double temperature,
               const TopWordsOut& out);

}  // namespace elastic::kernels
