// SPDX-License-Identifier: Apache-2.0
#include "interop/config_keys.hpp"

#include <algorithm>
#include <cmath>

#include "arch/shape_limits.hpp"
#include "base/error.hpp"

namespace elastic {

ConfigKeys::ConfigKeys(const OrderedJson& json, std::string place)
    : m_json(json), m_place(std::move(place)) {
  if (!json.is_object()) refuse("is not an object");
}

void ConfigKeys::refuse(const std::string& reason) const {
  throw InputError(fmt::format("{}: {}", m_place, reason));
}

ConfigKeys::Found ConfigKeys::find(const Names& names) const {
  Found first;
  for (const char* name : names) {
    if (!m_json.contains(name) || m_json.at(name).is_null()) continue;
    const OrderedJson& value = m_json.at(name);
    if (!first) first = {name, &value};
    if (value != *first.value)
      refuse(fmt::format("{} is {}, and its other name {} is {}: expected one value", first.name,
                         first.value->dump(), name, value.dump()));
  }
  return first;
}

index_t ConfigKeys::as_extent(const std::string& name, const OrderedJson& value) const {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 ||
      value.get<std::uint64_t>() > std::uint64_t(max_extent))
    refuse(fmt::format("{} is {}, expected a whole number from 1 to {}", name, value.dump(),
                       max_extent));
  return value.get<index_t>();
}

index_t ConfigKeys::extent(const Names& names, index_t fallback) const {
  const Found found = find(names);
  if (found) return as_extent(found.name, *found.value);
  if (fallback > 0) return fallback;
  refuse(fmt::format("lacks the key {}", names.front()));
}

double ConfigKeys::number(const Names& names, double fallback, const NumberRange& range) const {
  const Found found = find(names);
  if (!found) return fallback;
  const double value = number_of(*found.value, fmt::format("{}: {}", m_place, found.name));
  const bool above = range.may_be_lowest ? value >= range.lowest : value > range.lowest;
  if (!above || !(value <= range.highest) || !std::isfinite(value))
    refuse(fmt::format("{} is {}, expected a finite number {} {}{}", found.name, value,
                       range.may_be_lowest ? ">=" : ">", range.lowest,
                       std::isfinite(range.highest) ? fmt::format(", <= {}", range.highest) : ""));
  return value;
}

bool ConfigKeys::flag(const char* name, bool fallback) const {
  const Found found = find({name});
  if (!found) return fallback;
  if (!found.value->is_boolean())
    refuse(fmt::format("{} is {}, expected true or false", name, found.value->dump()));
  return found.value->get<bool>();
}

void ConfigKeys::expect(const char* name, const std::vector<OrderedJson>& allowed) const {
  const Found found = find({name});
  if (!found || std::find(allowed.begin(), allowed.end(), *found.value) != allowed.end()) return;
  std::string only;
  for (const auto& value : allowed) only += (only.empty() ? "" : " or ") + value.dump();
  refuse(fmt::format("{} is {}, only {} is supported", name, found.value->dump(), only));
}

}  // namespace elastic
