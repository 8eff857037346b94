// SPDX-License-Identifier: Apache-2.0
// Which token follows: the most likely one, or one drawn from a tempered and cut distribution
// (nucleus sampling, Holtzman et al. 2020).
//
//   p_v = softmax(logits / temperature)_v
//
// Tokens are taken in falling order of p (the smaller id first on a tie) until their sum reaches
// top_p; the others are left out. Random numbers are a function of seed, sequence and position, so
// that a sequence is equal alone and in any batch.
#pragma once
#include <span>

#include "base/random.hpp"

namespace elastic {

/// How a token is chosen.
struct SamplingConfig {
  double temperature = 0;  ///< 0: the most likely token
  double top_p = 1;        ///< in (0, 1]
  std::uint32_t seed = 0;
};
/// Throws InputError naming the value that is out of range.
void check_sampling(const SamplingConfig& config);

/// The token of one row of logits for `uniform` in (0, 1), which is not read at temperature 0.
/// Throws NumericsError if logits are not finite.
template <class T>
token_t sample_token(std::span<const T> logits, const SamplingConfig& config, double uniform);

/// Tokens for rows [B, V] of logits: the `position`-th of sequences first_sequence + b.
template <class T>
std::vector<token_t> choose_tokens(const ExecutionSpace& exec, View2<const T> logits,
                                   const SamplingConfig& config, index_t first_sequence,
                                   index_t position);

}  // namespace elastic
