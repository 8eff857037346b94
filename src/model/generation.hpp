// SPDX-License-Identifier: Apache-2.0
// Generation with KV and SSM caches, for a batch of prompts of different lengths.
//
// All sequences advance together. What all prompts have is read in a few large pieces; after that
// a sequence reads the rest of its prompt, then its own output, so that no layer ever sees padding.
#pragma once
#include <functional>
#include <span>

#include "model/decoder.hpp"
#include "model/sampling.hpp"

namespace elastic {

/// When a text ends, and how its tokens are chosen.
struct GenerationConfig {
  index_t max_length = 256;      ///< prompt and continuation together, tokens
  token_t stop = -1;             ///< a sequence ends after this token; -1: never
  SamplingConfig sampling = {};  ///< greedy unless it says otherwise
  index_t first_sequence = 0;    ///< number of the first prompt among all, for the random numbers
  /// Called before every token; may throw to end the text, e.g. Stopped. Where a model is spread
  /// over ranks, on all of them alike.
  std::function<void()> go_on = {};
};

/// Another submodel goes on from the token after the first `after` generated ones, or after the
/// first time that the generated tokens end with `marker`, all of it generated since the change
/// before. If it fits into the current one (decoder.hpp: fits_into) it takes over the caches, which
/// costs nothing, and remembers what the wider one computed. Otherwise it reads the text so far,
/// and gives exactly what it would give on that text.
template <class T>
struct BudgetSwitch {
  BudgetSwitch(index_t after_tokens, ActiveWidths<T> next)
      : after(after_tokens), widths(std::move(next)) {}
  BudgetSwitch(std::vector<token_t> after_marker, ActiveWidths<T> next)
      : widths(std::move(next)), marker(std::move(after_marker)) {}
  index_t after = 0;  ///< 0: there is a marker
  ActiveWidths<T> widths;
  std::vector<token_t> marker;
};

/// After how many of the generated `tokens` each of the switches came, in their order; those that
/// never came are missing.
template <class T>
std::vector<index_t> switch_places(const std::vector<token_t>& tokens,
                                   const std::vector<BudgetSwitch<T>>& switches);

/// Continuations (without the prompts, without `stop`) of each prompt by a submodel of exact
/// widths. `switches` come one after the other and are for one prompt only. Throws InputError for
/// an empty prompt or one that is not shorter than max_length.
template <class T>
std::vector<std::vector<token_t>> generate(const kernels::Products& products, Arena& arena,
                                           const LanguageModel<T>& model,
                                           const ActiveWidths<T>& widths,
                                           const std::vector<std::vector<token_t>>& prompts,
                                           const GenerationConfig& config,
                                           const std::vector<BudgetSwitch<T>>& switches = {});
/// The most likely continuations, whatever config.sampling says.
template <class T>
std::vector<std::vector<token_t>> generate_greedy(const kernels::Products& products, Arena& arena,
                                                  const LanguageModel<T>& model,
                                                  const ActiveWidths<T>& widths,
                                                  const std::vector<std::vector<token_t>>& prompts,
                                                  GenerationConfig config) {
  config.sampling = {};
  return generate<T>(products, arena, model, widths, prompts, config);
}
/// Throws InputError for an empty prompt or one that is not shorter than max_length.
void check_prompts(const std::vector<std::vector<token_t>>& prompts, index_t max_length);

}  // namespace elastic
