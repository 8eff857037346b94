// SPDX-License-Identifier: Apache-2.0
#include "config/wall_time_text.hpp"

#include <cstdlib>
#include <regex>

#include "base/error.hpp"

namespace elastic {

double parse_wall_time(const std::string& text) {
  static const std::regex with_days("(\\d{1,6})-(\\d{1,6})(?::(\\d{1,6}))?(?::(\\d{1,6}))?");
  static const std::regex hours("()(\\d{1,6}):(\\d{1,6}):(\\d{1,6})");
  static const std::regex minutes("()()(\\d{1,6})(?::(\\d{1,6}))?");
  std::smatch field;
  if (!std::regex_match(text, field, with_days) && !std::regex_match(text, field, hours) &&
      !std::regex_match(text, field, minutes))
    throw InputError(fmt::format(
        "'{}' is not a time; expected MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS", text));
  const auto number = [&](std::size_t i) { return std::atof(field.str(i).c_str()); };
  return ((number(1) * 24 + number(2)) * 60 + number(3)) * 60 + number(4);
}

double parse_pbs_time(const std::string& text) {
  static const std::regex format(R"((?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d{1,9})?))");
  std::smatch field;
  if (!std::regex_match(text, field, format))
    throw InputError(
        fmt::format("'{}' is not a time of PBS; expected SS, MM:SS or HH:MM:SS", text));
  const auto number = [&](std::size_t i) { return std::atof(field.str(i).c_str()); };
  return (number(1) * 60 + number(2)) * 60 + number(3);
}

}  // namespace elastic
