// SPDX-License-Identifier: Apache-2.0
#include "plan/units.hpp"

#include <fmt/format.h>

namespace elastic {

std::string with_prefix(double value, const char* unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z", "Y"};
  std::size_t p = 0;
  while (value >= 999.95 && p + 1 < std::size(prefixes)) {
    value /= 1000;
    ++p;
  }
  if (p == 0) return fmt::format("{:.0f} {}", value, unit);
  return fmt::format("{:.2f} {}{}", value, prefixes[p], unit);
}

std::string in_seconds(double seconds) {
  const char* units[] = {"s", "ms", "us", "ns"};
  std::size_t u = 0;
  while (seconds < 0.99995 && u + 1 < std::size(units)) {
    seconds *= 1000;
    ++u;
  }
  return fmt::format("{:.2f} {}", seconds, units[u]);
}

std::string grouped(double count) {
  std::string text = fmt::format("{:.0f}", count);
  for (auto place = static_cast<std::ptrdiff_t>(text.size()) - 3; place > 0; place -= 3)
    text.insert(text.begin() + place, ',');
  return text;
}

std::string percent(const std::optional<double>& part) {
  return part ? fmt::format("{:.1f}%", 100 * *part) : "-";
}

std::string plan_line(const char* name, const std::string& text) {
  return fmt::format("{:<8} {}\n", name, text);
}

}  // namespace elastic
