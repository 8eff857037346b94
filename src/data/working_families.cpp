// SPDX-License-Identifier: Apache-2.0
// The families that leave steps out: products without carries, expressions and programs of which
// only every so many values are written.
#include <algorithm>
#include <numeric>

#include "data/problem_text.hpp"

namespace elastic {
namespace {

constexpr std::string_view operators = "+-*";

/// x o y modulo 10, in [0, 10).
index_t apply(char o, index_t x, index_t y) {
  const index_t value = o == '+' ? x + y : (o == '-' ? x - y : x * y);
  return (value % 10 + 10) % 10;
}

/// What is left of `values`: number s, 2s, ... counted from 1.
template <class Value>
std::vector<Value> every(const std::vector<Value>& values, index_t s) {
  std::vector<Value> left;
  for (std::size_t i = static_cast<std::size_t>(s); i <= values.size();
       i += static_cast<std::size_t>(s))
    left.push_back(values[i - 1]);
  return left;
}

/// A drawn expression of `length` operators: its text, its value modulo 10, and the values of its
/// inner operations in the order in which they are worked out. The root has no parentheses.
struct Expression {
  std::string text;
  index_t value;
};
Expression draw_expression(index_t length, bool root, std::vector<index_t>& inner, Draws& draws) {
  if (length == 0) {
    const index_t value = draws.below(10);
    return {std::string(1, digit(value)), value};
  }
  const index_t left_length = draws.below(length);
  const auto left = draw_expression(left_length, false, inner, draws);
  const char o = operators[static_cast<std::size_t>(draws.below(3))];
  const auto right = draw_expression(length - 1 - left_length, false, inner, draws);
  const index_t value = apply(o, left.value, right.value);
  const std::string text = left.text + o + right.text;
  if (root) return {text, value};
  inner.push_back(value);
  return {"(" + text + ")", value};
}

}  // namespace

/// One step per digit of the second factor: label and the first factor times it. Carries, shifts
/// and the sum are not written.
///
///   34*12=  a340b680  #3090
Problem multiplication(index_t max_digits, Draws& draws) {
  const index_t n = draws.size(1, max_digits), m = draws.size(1, max_digits);
  const index_t x = draw_number(n, draws), y = draw_number(m, draws);
  const Digits factor = digits_of(y, m);
  std::string steps;
  for (index_t j = 0; j < m; ++j)
    steps += label(j) + written(digits_of(x * factor[static_cast<std::size_t>(j)], n + 1));
  return make_problem(
      Family::multiplication, written(digits_of(x, n)) + "*" + written(factor) + "=", steps,
      written(digits_of(x * y, n + m)), fmt::format("{}*{}", std::min(x, y), std::max(x, y)));
}
index_t longest_multiplication(index_t max_digits) {
  return (2 * max_digits + 2) + max_digits * (max_digits + 2) + (2 * max_digits + 1);
}

/// The value of an expression modulo 10. The steps are the values of its inner operations from
/// left to right, innermost first; every `written_step`-th is written.
///
///   [(3+(4*2))-5]=  81  #6
Problem expression(index_t max_length, index_t written_step, Draws& draws) {
  std::vector<index_t> inner;
  const auto drawn = draw_expression(draws.size(1, max_length), true, inner, draws);
  const std::string prompt = "[" + drawn.text + "]=";
  return make_problem(Family::expression, prompt, written(every(inner, written_step)),
                      std::string(1, digit(drawn.value)), prompt);
}
index_t longest_expression(index_t max_length, index_t written_step) {
  return (4 * max_length + 2) + (max_length - 1) / written_step + 2;
}

/// The last variable of a straight program modulo 10. Every operand is a digit or an earlier
/// variable, the first one mostly that of the line before. The steps are names and values of
/// every `written_step`-th line but the last.
///
///   k=3;b=k*4;x=b-k;?x:  k3b2  #9
Problem program(index_t max_length, index_t written_step, Draws& draws) {
  const index_t n = draws.size(2, max_length);
  std::string names(26, ' ');
  std::iota(names.begin(), names.end(), 'a');
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
    std::swap(names[i],
              names[i + static_cast<std::size_t>(draws.below(26 - static_cast<index_t>(i)))]);
  std::vector<index_t> values = {draws.below(10)};
  std::string prompt = {names[0], '=', digit(values[0]), ';'};
  std::string content = prompt.substr(1);  // without names, which do not matter
  struct Operand {
    index_t value;
    char text, anonymous;
  };
  const auto earlier = [&](index_t line) {
    const auto at = static_cast<std::size_t>(line);
    return Operand{values[at], names[at], label(line)};
  };
  for (index_t i = 1; i < n; ++i) {
    const Operand first = draws.below(4) > 0 ? earlier(i - 1) : earlier(draws.below(i));
    const index_t number = draws.below(10);
    const Operand second = draws.below(2) > 0 ? earlier(draws.below(i))
                                              : Operand{number, digit(number), digit(number)};
    const char o = operators[static_cast<std::size_t>(draws.below(3))];
    values.push_back(apply(o, first.value, second.value));
    prompt += {names[static_cast<std::size_t>(i)], '=', first.text, o, second.text, ';'};
    content += {'=', first.anonymous, o, second.anonymous, ';'};
  }
  std::vector<std::string> lines;
  for (std::size_t i = 0; i + 1 < values.size(); ++i) lines.push_back({names[i], digit(values[i])});
  std::string steps;
  for (const std::string& line : every(lines, written_step)) steps += line;
  prompt += {'?', names[static_cast<std::size_t>(n - 1)], ':'};
  return make_problem(Family::program, prompt, steps, std::string(1, digit(values.back())),
                      content);
}
index_t longest_program(index_t max_length, index_t written_step) {
  return (4 + 6 * (max_length - 1) + 3) + 2 * ((max_length - 1) / written_step) + 2;
}

}  // namespace elastic
