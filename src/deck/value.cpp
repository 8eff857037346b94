// SPDX-License-Identifier: Apache-2.0
// Conversions between text and typed values, see value.hpp.
#include "deck/value.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "deck/text.hpp"

namespace elastic {

std::string Interval::text() const {
  if (!is_bounded()) return {};
  if (std::isinf(high)) return fmt::format("{} {}", low_open ? ">" : ">=", low);
  if (std::isinf(low)) return fmt::format("{} {}", high_open ? "<" : "<=", high);
  return fmt::format("in {}{}, {}{}", low_open ? '(' : '[', low, high, high_open ? ')' : ']');
}

namespace impl {
namespace {

template <class T>
bool read_all(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end;
}

}  // namespace

bool read_scalar(std::string_view text, bool& value) {
  if (text != "true" && text != "false") return false;
  value = text == "true";
  return true;
}

bool read_scalar(std::string_view text, index_t& value) {
  index_t whole = 0;
  if (!read_all(text, whole)) {
    constexpr double exact = 9007199254740992.0;  // 2^53: every whole number up to here is a double
    double number = 0;
    if (!read_scalar(text, number) || number != std::trunc(number) || std::abs(number) > exact)
      return false;
    if (text.find_first_of("eE") == text.npos) return false;  // "4.0" is not how one writes a count
    whole = static_cast<index_t>(number);
  }
  value = whole;
  return true;
}

bool read_scalar(std::string_view text, double& value) {
  double number = 0;
  if (!read_all(text, number) || !std::isfinite(number)) return false;
  value = number;
  return true;
}

bool read_scalar(std::string_view text, std::string& value) { return unquote(text, value).empty(); }

std::string write_scalar(bool value) { return value ? "true" : "false"; }
std::string write_scalar(index_t value) { return fmt::format("{}", value); }
std::string write_scalar(double value) { return fmt::format("{}", value); }
std::string write_scalar(const std::string& value) { return quote_if_needed(value, false); }

}  // namespace impl
}  // namespace elastic
