// SPDX-License-Identifier: Apache-2.0
#include "elastic/checked_json.hpp"

#include <cmath>
#include <set>

#include "base/error.hpp"

namespace elastic {
namespace {
using Json = nlohmann::json;
constexpr std::size_t most_bytes = std::size_t(4) << 20;
constexpr int most_depth = 4;

std::string shown(const Json& value) { return value.dump().substr(0, 40); }

const Json& member(const Json& object, const char* key) {
  if (!object.is_object())
    throw InputError(fmt::format("{} stands where an object is expected", shown(object)));
  const auto found = object.find(key);
  if (found == object.end()) throw InputError(fmt::format("lacks '{}'", key));
  return *found;
}

index_t whole(const Json& value, const char* key, index_t low, index_t high) {
  // Unsigned numbers beyond those of index_t would wrap.
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(high)
                        : value.is_number_integer() && value.get<index_t>() <= high;
  if (!fits || value.get<index_t>() < low)
    throw InputError(fmt::format("'{}' is {}, expected a whole number from {} to {}", key,
                                 shown(value), low, high));
  return value.get<index_t>();
}
}  // namespace

Json parse_checked_json(const std::string& text) {
  if (text.size() > most_bytes)
    throw InputError(fmt::format("has {} bytes, at most {} are read", text.size(), most_bytes));
  std::vector<std::set<std::string>> open_objects;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (depth > most_depth) throw InputError("is nested too deeply");
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && !open_objects.back().insert(value.get<std::string>()).second)
      throw InputError(fmt::format("the key {} stands twice", shown(value)));
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, check);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("is not JSON: {}", error.what()));
  }
  if (!json.is_object()) throw InputError("is not a JSON object");
  return json;
}

index_t whole_number(const Json& object, const char* key, index_t low, index_t high) {
  return whole(member(object, key), key, low, high);
}

double real_number(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    throw InputError(fmt::format("'{}' is {}, expected a finite number", key, shown(value)));
  return value.get<double>();
}

std::string word(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_string())
    throw InputError(fmt::format("'{}' is {}, expected a text", key, shown(value)));
  return value.get<std::string>();
}

const Json& list(const Json& object, const char* key, index_t most) {
  const Json& value = member(object, key);
  if (!value.is_array() || static_cast<index_t>(value.size()) > most)
    throw InputError(
        fmt::format("'{}' is {}, expected a list of at most {} items", key, shown(value), most));
  return value;
}

std::vector<index_t> whole_numbers(const Json& object, const char* key, index_t low, index_t high,
                                   index_t most) {
  std::vector<index_t> numbers;
  for (const auto& value : list(object, key, most)) numbers.push_back(whole(value, key, low, high));
  return numbers;
}

}  // namespace elastic
