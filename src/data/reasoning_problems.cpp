// SPDX-License-Identifier: Apache-2.0
// Splits, documents and answers of reasoning problems.
#include "data/reasoning_problems.hpp"

#include <fmt/ranges.h>

#define XXH_INLINE_ALL
#define XXH_NO_XXH3
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "data/character_vocabulary.hpp"
#include "data/problem_families.hpp"

namespace elastic {
namespace {
constexpr std::array<std::string_view, 7> all_names = {"addition",   "subtraction",    "comparison",
                                                       "assignment", "multiplication", "expression",
                                                       "program"};

void require_size(const char* what, index_t value, index_t low, index_t high) {
  if (value < low || value > high)
    throw InputError(
        fmt::format("reasoning problems: {} is {}; expected {} to {}", what, value, low, high));
}
}  // namespace

std::string_view family_name(Family family) { return all_names[static_cast<std::size_t>(family)]; }
std::vector<std::string> family_names() { return {all_names.begin(), all_names.end()}; }

Family family_from_name(std::string_view name) {
  const auto found = std::find(all_names.begin(), all_names.end(), name);
  if (found == all_names.end())
    throw InputError(fmt::format("reasoning problems: no family \"{}\"; expected one of {}", name,
                                 fmt::join(all_names, ", ")));
  return static_cast<Family>(found - all_names.begin());
}

ReasoningProblems::ReasoningProblems(const ReasoningConfig& config, std::uint32_t seed,
                                     std::uint64_t stream)
    : m_config(config), m_key{seed, RandomPurpose::problem, stream} {
  if (config.families.empty()) throw InputError("reasoning problems: no family; expected some");
  require_size("max_digits", config.max_digits, 1, 9);
  require_size("comparison_length", config.comparison_length, 2, 9);
  require_size("assignment_length", config.assignment_length, 2, 9);
  require_size("multiplication_digits", config.multiplication_digits, 1, 4);
  require_size("expression_length", config.expression_length, 1, 9);
  require_size("program_length", config.program_length, 2, 20);
  require_size("written_step", config.written_step, 1, 20);
  if (!(config.held_out_fraction >= 0.001 && config.held_out_fraction <= 0.5))
    throw InputError(
        fmt::format("reasoning problems: held_out_fraction is {}; expected 0.001 to 0.5",
                    config.held_out_fraction));
  if (!(config.prompt_weight >= 0 && config.prompt_weight <= 1))
    throw InputError(fmt::format("reasoning problems: prompt_weight is {}; expected 0 to 1",
                                 config.prompt_weight));
}

Problem ReasoningProblems::problem(Split split, index_t index) const {
  ELASTIC_REQUIRE(index >= 0, "problem {}", index);
  const auto number = 2 * static_cast<std::uint64_t>(index) + (split == Split::validation);
  Draws draws(random_subkey(m_key, number));
  const auto count = static_cast<index_t>(m_config.families.size());
  const Family family = m_config.families[static_cast<std::size_t>(draws.below(count))];
  // Draws until the problem is of the split. So many misses in a row have a probability of e^-100.
  const index_t most = static_cast<index_t>(100 / m_config.held_out_fraction);
  for (index_t attempt = 0; attempt < most; ++attempt) {
    Problem result = draw_problem(family, m_config, draws);
    if (split_of(result, m_config.held_out_fraction) == split) return result;
  }
  throw InputError(fmt::format(
      "reasoning problems: none of the {} problems of these sizes is for {}; expected larger sizes",
      family_name(family), split == Split::train ? "training" : "validation"));
}

Document ReasoningProblems::document(const Problem& problem) const {
  Document result;
  result.tokens = prompt_tokens(problem);
  result.weight.assign(result.tokens.size(), m_config.prompt_weight);
  const auto completion = CharacterVocabulary::encode(problem.completion);
  result.tokens.insert(result.tokens.end(), completion.begin(), completion.end());
  result.tokens.push_back(CharacterVocabulary::end);
  result.weight.resize(result.tokens.size(), 1.0f);
  return result;
}

index_t ReasoningProblems::longest_document() const {
  index_t longest = 0;
  for (const Family family : m_config.families)
    longest = std::max(longest, longest_text(family, m_config));
  return longest + 2;  // begin and end
}

Split split_of(const Problem& problem, double held_out_fraction) {
  const std::uint64_t hash = XXH64(problem.content.data(), problem.content.size(), 0);
  return static_cast<double>(hash >> 11) * 0x1p-53 < held_out_fraction ? Split::validation
                                                                       : Split::train;
}

std::vector<token_t> prompt_tokens(const Problem& problem) {
  auto result = CharacterVocabulary::encode(problem.prompt);
  result.insert(result.begin(), CharacterVocabulary::begin);
  return result;
}

bool check_answer(const Problem& problem, std::string_view generated) {
  const auto marker = generated.rfind('#');
  return marker != std::string_view::npos && generated.substr(marker + 1) == problem.answer;
}

}  // namespace elastic
