// SPDX-License-Identifier: Apache-2.0
// Greedy generation with KV and SSM caches, for a batch of prompts of different lengths.
//
// All sequences start at position 0 and advance together; a sequence reads its prompt first and its
// own output after that, so no padding is ever seen by a layer.
#pragma once
#include "model/language_model.hpp"

namespace elastic {

struct GenerationConfig {
  index_t max_length = 256;  ///< prompt and continuation together, tokens
  token_t stop = -1;         ///< a sequence ends after this token; -1: never
};

/// Continuations (without the prompts, without `stop`) of each prompt by a submodel of exact
/// widths. Throws InputError for an empty prompt or one that is not shorter than max_length.
template <class S>
std::vector<std::vector<token_t>> generate_greedy(const ExecutionSpace& exec, Arena& arena,
                                                  const LanguageModel<S>& model,
                                                  const ActiveWidths<S>& widths,
                                                  const std::vector<std::vector<token_t>>& prompts,
                                                  const GenerationConfig& config);

}  // namespace elastic
