// SPDX-License-Identifier: Apache-2.0
// How the problems of each family are drawn and written. In addition, subtraction, comparison and
// assignment every character of the worked steps follows from characters just before it or from
// one that is found by its label. Multiplication, expressions and programs leave steps out: a
// model has to carry several operations through its layers between two written characters.
#pragma once
#include "data/reasoning_problems.hpp"

namespace elastic {

/// Numbers drawn one after another from a key.
class Draws {
 public:
  explicit Draws(const RandomKey& key) : m_key(key) {}
  /// Integer in [0, count).
  index_t below(index_t count) {
    return static_cast<index_t>(random_below(m_key, m_next++, static_cast<std::uint64_t>(count)));
  }
  /// Integer in [low, high]: the larger of two draws, so that larger problems are more frequent.
  index_t size(index_t low, index_t high);

 private:
  RandomKey m_key;
  std::uint64_t m_next = 0;
};

/// A problem of a family, of random size up to those of the configuration.
Problem draw_problem(Family family, const ReasoningConfig& config, Draws& draws);
/// Characters of the longest prompt + completion of a family.
index_t longest_text(Family family, const ReasoningConfig& config);

/// Families with steps left out (working_families.cpp); sizes as in ReasoningConfig.
Problem multiplication(index_t max_digits, Draws& draws);
Problem expression(index_t max_length, index_t written_step, Draws& draws);
Problem program(index_t max_length, index_t written_step, Draws& draws);
index_t longest_multiplication(index_t max_digits);
index_t longest_expression(index_t max_length, index_t written_step);
index_t longest_program(index_t max_length, index_t written_step);

}  // namespace elastic
