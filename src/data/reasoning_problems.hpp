// SPDX-License-Identifier: Apache-2.0
// Endless problems with worked steps and an answer that can be checked: what a model learns to reason on.
//
// A document is  begin prompt completion end,  completion = worked steps, then "#", then the answer. README.md shows one of
// each family. Problem number `index` of a split is a pure function of (seed, stream, split, index). Whether a problem is
// held out depends only on a hash of its content, so that no seed, stream or stage can train on a validation problem.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "data/token_source.hpp"

namespace elastic {

enum class Family { addition, subtraction, comparison, assignment };
std::string_view family_name(Family family);

struct ReasoningConfig {
  std::vector<Family> families = {Family::addition, Family::subtraction, Family::comparison, Family::assignment};
  index_t max_digits = 3;           ///< digits of the operands of addition and subtraction, 1 to 9
  index_t comparison_length = 4;    ///< numbers in a comparison chain, 2 to 9
  index_t assignment_length = 4;    ///< variables of an assignment problem, 2 to 9
  double held_out_fraction = 0.1;   ///< of all problems, in (0, 1)
  float prompt_weight = 0;          ///< loss weight of the tokens of the prompt; 1 on the completion
};

struct Problem {
  Family family;
  std::string prompt;      ///< what the model is given
  std::string completion;  ///< worked steps and answer
  std::string answer;      ///< what follows the final marker
};

class ReasoningProblems {
 public:
  /// Throws InputError for sizes out of range.
  ReasoningProblems(const ReasoningConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  /// Problem number `index` (>= 0) of a split. Throws InputError if the configured sizes leave a split without problems.
  Problem problem(Split split, index_t index) const;
  /// Its tokens and loss weights.
  Document document(const Problem& problem) const;
  const ReasoningConfig& config() const { return m_config; }

 private:
  ReasoningConfig m_config;
  std::uint32_t m_seed;
  std::uint64_t m_stream;
};

/// begin + prompt: what a model is asked to continue.
std::vector<token_t> prompt_tokens(const Problem& problem);
/// True if `generated` (a continuation of the prompt) has exactly the right answer after its last marker "#".
bool check_answer(const Problem& problem, std::string_view generated);

}  // namespace elastic
