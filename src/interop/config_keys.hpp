// SPDX-License-Identifier: Apache-2.0
// Access to one object of config.json, with messages that say where it stands.
//
// A value may stand under several names (n_groups, mamba_n_groups). Programs differ in which of
// them they read, so names that are given together must say the same.
#pragma once
#include <limits>
#include <vector>

#include "base/types.hpp"
#include "interop/strict_json.hpp"

namespace elastic {

struct NumberRange {
  double lowest = 0, highest = std::numeric_limits<double>::infinity();
  bool may_be_lowest = true;
};

class ConfigKeys {
 public:
  using Names = std::vector<const char*>;
  /// A value and the name under which it was found.
  struct Found {
    const char* name = nullptr;
    const OrderedJson* value = nullptr;
    explicit operator bool() const { return value; }
  };

  /// `place`: the file, and the object in it. Throws InputError unless `json` is an object.
  ConfigKeys(const OrderedJson& json, std::string place);
  const std::string& place() const { return m_place; }
  [[noreturn]] void refuse(const std::string& reason) const;

  /// The value under the first of these names that is there and not null, or nothing. Throws
  /// InputError naming both keys if another of the names has another value.
  Found find(const Names& names) const;
  /// A whole number from 1 to max_extent; `fallback` where there is none, 0: it must be there.
  index_t extent(const Names& names, index_t fallback = 0) const;
  /// As much of a value that was found, or of an element of it.
  index_t as_extent(const std::string& name, const OrderedJson& value) const;
  /// A finite number in the range.
  double number(const Names& names, double fallback, const NumberRange& range = {}) const;
  bool flag(const char* name, bool fallback) const;
  /// Refuses a key whose value is none of those that are computed here.
  void expect(const char* name, const std::vector<OrderedJson>& allowed) const;

 private:
  const OrderedJson& m_json;
  std::string m_place;
};

}  // namespace elastic
