// SPDX-License-Identifier: Apache-2.0
// Nested speculative decoding (Leviathan, Kalman and Matias 2023, arXiv 2211.17192, with greedy
// choice). A submodel drafts k tokens one by one. The model it is a part of reads them all in one
// pass, keeps those that it would have chosen itself, and adds its own choice after them. There are
// no weights besides those of the model; each of the two has caches of its own.
//
// The output is that of greedy decoding by the model, token for token,
// if the logits of a position have equal bits in a block and alone: on hosts, and everywhere
// in deterministic mode (kernels/products/gemm.hpp). Elsewhere it may differ where two tokens
// are equally likely up to rounding.
#pragma once
#include "model/generation.hpp"

namespace elastic {

struct SpeculativeConfig {
  index_t max_length = 256;          ///< prompt and continuation together, tokens
  token_t stop = -1;                 ///< the text ends after this token; -1: never
  index_t draft_length = 4;          ///< tokens drafted at once, k >= 1
  std::function<void()> go_on = {};  ///< as in GenerationConfig, before every round
};

struct SpeculativeResult {
  std::vector<token_t> tokens;  ///< the continuation, without `stop`
  index_t rounds = 0;           ///< passes of the model that checked a draft
  index_t drafted = 0, accepted = 0;
};

/// Continuation of one prompt by `widths`, drafted by `draft`, both exact. Throws InputError for an
/// empty prompt or one that is not shorter than max_length.
template <class T>
SpeculativeResult generate_speculative(const kernels::Products& products, Arena& arena,
                                       const LanguageModel<T>& model, const ActiveWidths<T>& widths,
                                       const ActiveWidths<T>& draft,
                                       const std::vector<token_t>& prompt,
                                       const SpeculativeConfig& config);

}  // namespace elastic
