// SPDX-License-Identifier: Apache-2.0
// Comparisons behind near() and bitwise_equal().
#include "unit_tests/support/views.hpp"

#include <fmt/format.h>

#include <numeric>

namespace elastic::test {
namespace {

std::string place(std::size_t i, index_t columns) {
  return columns > 0 ? fmt::format("[{}, {}]", i / columns, i % columns) : fmt::format("[{}]", i);
}

}  // namespace

testing::AssertionResult near_values(const std::vector<double>& actual,
                                     const std::vector<double>& expected, index_t columns,
                                     double tolerance, double rounding) {
  if (actual.size() != expected.size())
    return testing::AssertionFailure()
           << fmt::format("{} elements, expected {}", actual.size(), expected.size());
  double magnitude = 1;
  for (const double e : expected) magnitude = std::max(magnitude, std::abs(e));
  std::vector<double> error(actual.size());  // beyond what storing the element may cost
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double stored = rounding * (std::abs(expected[i]) + tolerance * magnitude);
    error[i] = std::max(0.0, std::abs(actual[i] - expected[i]) - stored);
    if (!std::isfinite(actual[i] - expected[i])) error[i] = std::numeric_limits<double>::infinity();
  }
  std::vector<std::size_t> order(actual.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t shown = std::min<std::size_t>(3, order.size());
  std::partial_sort(order.begin(), order.begin() + shown, order.end(),
                    [&](std::size_t a, std::size_t b) { return error[a] > error[b]; });
  if (shown == 0 || error[order[0]] <= tolerance * magnitude) return testing::AssertionSuccess();
  std::string text = fmt::format("beyond {:.3g} * {:.3g}:", tolerance, magnitude);
  for (std::size_t k = 0; k < shown; ++k) {
    const std::size_t i = order[k];
    text += fmt::format("\n  {} = {:.17g}, expected {:.17g}", place(i, columns), actual[i],
                        expected[i]);
  }
  return testing::AssertionFailure() << text;
}

testing::AssertionResult same_bits(const void* a, const void* b,
                                   const std::vector<double>& a_values,
                                   const std::vector<double>& b_values, std::size_t element_bytes,
                                   index_t columns) {
  if (a_values.size() != b_values.size())
    return testing::AssertionFailure()
           << fmt::format("{} and {} elements", a_values.size(), b_values.size());
  const auto* a_bytes = static_cast<const unsigned char*>(a);
  const auto* b_bytes = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < a_values.size(); ++i)
    if (std::memcmp(a_bytes + i * element_bytes, b_bytes + i * element_bytes, element_bytes) != 0)
      return testing::AssertionFailure() << fmt::format(
                 "{}: {:.17g} and {:.17g} differ", place(i, columns), a_values[i], b_values[i]);
  return testing::AssertionSuccess();
}

}  // namespace elastic::test
