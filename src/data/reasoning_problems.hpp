// SPDX-License-Identifier: Apache-2.0
// Endless problems with worked steps and an answer that can be checked:
// what a model learns to reason on. A document is
//
//   begin prompt completion end,   completion = worked steps, "#", answer
//
// README.md shows one of each family. Problem number `index` of a split is a pure function
// of (config, seed, stream, split, index).
//
// Whether a problem is held out depends only on its content (xxHash), so that no seed,
// stream, size or stage can train on a validation problem. Only the held-out fraction must
// stay the same between stages.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "data/token_source.hpp"

namespace elastic {

enum class Family {
  addition,
  subtraction,
  comparison,
  assignment,
  multiplication,
  expression,
  program
};
/// The names of all families, in the order of the enumeration.
std::vector<std::string> family_names();
std::string_view family_name(Family family);
/// The family of this name. Throws InputError naming the families there are.
Family family_from_name(std::string_view name);

struct ReasoningConfig {
  std::vector<Family> families = {Family::addition, Family::subtraction, Family::comparison,
                                  Family::assignment};
  index_t max_digits = 3;         ///< digits of the operands of addition and subtraction, 1 to 9
  index_t comparison_length = 4;  ///< most numbers in a comparison chain, 2 to 9
  index_t assignment_length = 4;  ///< most variables of an assignment problem, 2 to 9
  index_t multiplication_digits = 2;  ///< most digits of a factor, 1 to 4
  index_t expression_length = 4;      ///< most operators of an expression, 1 to 9
  index_t program_length = 6;         ///< most lines of a program, 2 to 20
  index_t written_step = 1;  ///< every how many steps of an expression or program one is written
  double held_out_fraction = 0.1;  ///< of all problems, 0.001 to 0.5
  float prompt_weight = 0;         ///< loss weight of the tokens of the prompt; 1 on the completion
};

struct Problem {
  Family family;
  std::string prompt;      ///< what the model is given
  std::string completion;  ///< worked steps, "#", answer
  std::string answer;      ///< what follows the final marker
  std::string content;     ///< what decides the split; equal for problems that differ in order only
};

class ReasoningProblems {
 public:
  /// Throws InputError for sizes out of range.
  ReasoningProblems(const ReasoningConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  /// Problem number `index` (>= 0) of a split. Throws InputError if the configured sizes
  /// leave a split without problems.
  Problem problem(Split split, index_t index) const;
  /// Tokens and loss weights of a problem.
  Document document(const Problem& problem) const;
  /// Tokens of the longest document that these sizes allow; no row and no generation needs more.
  index_t longest_document() const;
  const ReasoningConfig& config() const { return m_config; }

 private:
  ReasoningConfig m_config;
  RandomKey m_key;
};

/// The split of a problem: validation if the hash of its content falls below the fraction.
Split split_of(const Problem& problem, double held_out_fraction);
/// begin + prompt: what a model is asked to continue.
std::vector<token_t> prompt_tokens(const Problem& problem);
/// True if `generated` (a continuation of the prompt) has exactly the right
/// answer after its last "#".
bool check_answer(const Problem& problem, std::string_view generated);

}  // namespace elastic
