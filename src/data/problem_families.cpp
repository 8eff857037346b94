// SPDX-License-Identifier: Apache-2.0
// The families whose every character follows from a few before it.
#include "data/problem_families.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "data/problem_text.hpp"

namespace elastic {
namespace {
/// One step per column, least significant first: label, carry in, the two digits, and the result
/// with the carry out in front.
///
///   743+509=  a0,7+5=12 b1,4+0=05 c0,3+9=12  #2521
Problem column_arithmetic(Family family, index_t max_digits, Draws& draws) {
  const bool adds = family == Family::addition;
  const char sign = adds ? '+' : '-';
  const index_t n = draws.size(1, max_digits);
  index_t x = draw_number(n, draws), y = draw_number(n, draws);
  if (!adds && x < y) std::swap(x, y);
  const Digits a = digits_of(x, n), b = digits_of(y, n);
  std::string steps, answer;
  index_t carry = 0;
  for (index_t i = 0; i < n; ++i) {
    const auto column = static_cast<std::size_t>(i);
    const index_t value = adds ? a[column] + b[column] + carry : a[column] - b[column] - carry;
    const index_t carry_out = adds ? value / 10 : (value < 0 ? 1 : 0);
    const char result = digit((value + 10) % 10);
    for (const char c : {label(i), digit(carry), ',', digit(a[column]), sign, digit(b[column]), '=',
                         digit(carry_out), result})
      steps += c;
    answer += result;
    carry = carry_out;
  }
  if (adds) answer += digit(carry);
  // a+b and b+a, and the same numbers with more zeros, are one problem.
  const index_t first = adds ? std::min(x, y) : x, second = adds ? std::max(x, y) : y;
  return make_problem(family, written(a) + sign + written(b) + "=", steps, answer,
                      fmt::format("{}{}{}", first, sign, second));
}

/// The largest of some labelled two-digit numbers, by a running maximum.
/// Each step restates the pair, then says the larger.
///
///   >a12b45c08d90=  12b45:45c08:45d90:90  #90
Problem comparison(index_t max_length, Draws& draws) {
  const index_t n = draws.size(2, max_length);
  std::vector<std::string> numbers;
  for (index_t i = 0; i < n; ++i) numbers.push_back(fmt::format("{:02}", draws.below(100)));
  std::string prompt = ">", steps = numbers[0], largest = numbers[0];
  for (index_t i = 0; i < n; ++i) {
    const std::string& number = numbers[static_cast<std::size_t>(i)];
    prompt += label(i) + number;
    if (i == 0) continue;
    largest = std::max(largest, number);
    steps += label(i) + number + ":" + largest;
  }
  std::sort(numbers.begin(), numbers.end());
  return make_problem(Family::comparison, prompt + "=", steps, largest,
                      fmt::format(">{}", fmt::join(numbers, ",")));
}

/// The value of a variable that is defined through others. Each step looks one definition up.
///
///   b=k,q=7,k=x,x=5,?b:  b=k,k=x,x=5  #5
Problem assignment(index_t max_length, Draws& draws) {
  const index_t n = draws.size(2, max_length), chain = draws.size(1, n);
  std::string names(26, ' ');
  std::iota(names.begin(), names.end(), 'a');
  for (index_t i = 0; i < n; ++i)
    std::swap(names[static_cast<std::size_t>(i)],
              names[static_cast<std::size_t>(i + draws.below(26 - i))]);
  // Variable 0 is a number, 1 to chain - 1 copy the one before them, the others anything earlier.
  const char value = digit(draws.below(10));
  std::vector<std::string> definitions;
  for (index_t i = 0; i < n; ++i) {
    const index_t from = i < chain ? i - 1 : draws.below(i + 1) - 1;  // -1: a number
    const char other = i == 0 ? value : digit(draws.below(10));
    const char right = from < 0 ? other : names[static_cast<std::size_t>(from)];
    definitions.push_back({names[static_cast<std::size_t>(i)], '=', right});
  }
  std::string steps;
  for (index_t i = chain - 1; i >= 0; --i)
    steps += definitions[static_cast<std::size_t>(i)] + (i > 0 ? "," : "");
  const std::string question = {'?', names[static_cast<std::size_t>(chain - 1)]};
  std::sort(definitions.begin(), definitions.end());
  std::string content = fmt::format("{}{}", fmt::join(definitions, ","), question);
  for (index_t i = n - 1; i > 0; --i)
    std::swap(definitions[static_cast<std::size_t>(i)],
              definitions[static_cast<std::size_t>(draws.below(i + 1))]);
  return make_problem(Family::assignment,
                      fmt::format("{},{}:", fmt::join(definitions, ","), question), steps,
                      std::string(1, value), content);
}
}  // namespace

index_t Draws::size(index_t low, index_t high) {
  const index_t first = below(high - low + 1), second = below(high - low + 1);
  return low + std::max(first, second);
}

Problem draw_problem(Family family, const ReasoningConfig& config, Draws& draws) {
  switch (family) {
    case Family::comparison:
      return comparison(config.comparison_length, draws);
    case Family::assignment:
      return assignment(config.assignment_length, draws);
    case Family::multiplication:
      return multiplication(config.multiplication_digits, draws);
    case Family::expression:
      return expression(config.expression_length, config.written_step, draws);
    case Family::program:
      return program(config.program_length, config.written_step, draws);
    default:
      return column_arithmetic(family, config.max_digits, draws);
  }
}

index_t longest_text(Family family, const ReasoningConfig& config) {
  switch (family) {
    case Family::addition:
      return (2 * config.max_digits + 2) + 9 * config.max_digits + (config.max_digits + 2);
    case Family::subtraction:
      return (2 * config.max_digits + 2) + 9 * config.max_digits + (config.max_digits + 1);
    case Family::comparison:
      return (3 * config.comparison_length + 2) + (6 * config.comparison_length - 4) + 3;
    case Family::assignment:
      return (4 * config.assignment_length + 3) + (4 * config.assignment_length - 1) + 2;
    case Family::multiplication:
      return longest_multiplication(config.multiplication_digits);
    case Family::expression:
      return longest_expression(config.expression_length, config.written_step);
    case Family::program:
      return longest_program(config.program_length, config.written_step);
  }
  return 0;
}

}  // namespace elastic
