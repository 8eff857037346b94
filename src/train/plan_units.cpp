// SPDX-License-Identifier: Apache-2.0
#include "train/plan_units.hpp"

#include <fmt/format.h>

namespace elastic {

std::string with_prefix(double value, const char* unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t p = 0;
  while (value >= 999.95 && p + 1 < std::size(prefixes)) {
    value /= 1000;
    ++p;
  }
  if (p == 0) return fmt::format("{:.0f} {}", value, unit);
  return fmt::format("{:.2f} {}{}", value, prefixes[p], unit);
}

}  // namespace elastic
