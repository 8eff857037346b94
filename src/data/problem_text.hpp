// SPDX-License-Identifier: Apache-2.0
// How the families of problems write digits and labels. Included by their sources only.
#pragma once
#include <string>

#include "base/error.hpp"
#include "data/problem_families.hpp"

namespace elastic {

using Digits = std::vector<index_t>;  // least significant first

inline char digit(index_t value) { return static_cast<char>('0' + value); }
inline char label(index_t i) { return static_cast<char>('a' + i); }

inline Problem make_problem(Family family, std::string prompt, const std::string& steps,
                            std::string answer, std::string content) {
  std::string completion = steps + "#" + answer;
  return {family, std::move(prompt), std::move(completion), std::move(answer), std::move(content)};
}

inline index_t draw_number(index_t num_digits, Draws& draws) {
  index_t limit = 1;
  for (index_t i = 0; i < num_digits; ++i) limit *= 10;
  return draws.below(limit);
}
inline Digits digits_of(index_t number, index_t num_digits) {
  Digits result;
  for (index_t i = 0; i < num_digits; ++i, number /= 10) result.push_back(number % 10);
  return result;
}
inline std::string written(const Digits& digits) {
  std::string result;
  for (const index_t d : digits) result += digit(d);
  return result;
}

}  // namespace elastic
