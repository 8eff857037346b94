// SPDX-License-Identifier: Apache-2.0
// Values of the deck: text to typed value and back without loss.
#pragma once
#include <concepts>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Types that a key can be bound to (enums are bound through their names).
template <class T>
concept DeckScalar = std::same_as<T, bool> || std::same_as<T, index_t> || std::same_as<T, double> ||
    std::same_as<T, std::string>;
template <class T>
concept DeckList = std::same_as<T, std::vector<index_t>> || std::same_as<T, std::vector<double>> ||
    std::same_as<T, std::vector<std::string>>;
template <class T>
concept DeckValue = DeckScalar<T> || DeckList<T>;

/// Sizes of the real numbers of a deck other than 0: those that keep their meaning where they are
/// used with 32 bits, squared or divided by.
inline constexpr double smallest_number = 1e-30, largest_number = 1e30;

/// Allowed range of a number (of every item of a list); an open bound is excluded.
struct Interval {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;

  static Interval at_least(double low) { return {.low = low}; }
  static Interval above(double low) { return {.low = low, .low_open = true}; }
  static Interval positive() { return above(0); }
  static Interval at_most(double high) { return {.high = high}; }
  static Interval between(double low, double high) { return {.low = low, .high = high}; }

  bool contains(double x) const {
    return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high);
  }
  bool is_bounded() const {
    return low > -std::numeric_limits<double>::infinity() ||
           high < std::numeric_limits<double>::infinity();
  }
  /// "> 0", "<= 5", "in [0, 1)"; empty if unbounded.
  std::string text() const;
};

namespace impl {

/// Reads the whole text. False, with the value untouched, if it is no such value. An integer may be
/// written as 110e9 if it is exact; numbers are finite.
bool read_scalar(std::string_view text, bool& value);
bool read_scalar(std::string_view text, index_t& value);
bool read_scalar(std::string_view text, double& value);
bool read_scalar(std::string_view text, std::string& value);

/// Shortest text that reads back to the same value.
std::string write_scalar(bool value);
std::string write_scalar(index_t value);
std::string write_scalar(double value);
std::string write_scalar(const std::string& value);

}  // namespace impl
}  // namespace elastic
