// SPDX-License-Identifier: Apache-2.0
#include "interop/strict_json.hpp"

#include <cmath>
#include <limits>
#include <set>

#include "base/error.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {

constexpr const char* special_key = "__float__";
// -Infinity stands before Infinity, which is a part of it.
constexpr const char* special_values[] = {"-Infinity", "Infinity", "NaN"};
constexpr int max_depth = 32;
constexpr std::size_t max_keys = 1 << 15;  // of an object, which is searched for every new key

/// Writes {"__float__": "Infinity"} for a bare Infinity outside of strings, NaN likewise.
std::string quote_special_numbers(const std::string& text) {
  std::string result;
  result.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      result += c;
      result += text[++i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    const char* found = nullptr;
    for (const char* name : special_values)
      if (!in_string && !found && text.compare(i, std::strlen(name), name) == 0) found = name;
    if (found) {
      result += fmt::format("{{\"{}\":\"{}\"}}", special_key, found);
      i += std::strlen(found) - 1;
    } else {
      result += c;
    }
  }
  return result;
}

bool is_special(const OrderedJson& json) {
  if (!json.is_object() || json.size() != 1 || !json.contains(special_key)) return false;
  const auto& value = json.at(special_key);
  return std::any_of(std::begin(special_values), std::end(special_values),
                     [&](const char* name) { return value == name; });
}

/// A string that dump_json turns back into a bare number.
std::string placeholder(const std::string& name) { return "<elastic bare number " + name + ">"; }
void put_placeholders(OrderedJson& json) {
  if (is_special(json)) {
    json = placeholder(json.at(special_key).get<std::string>());
  } else if (json.is_structured()) {
    for (auto& element : json) put_placeholders(element);
  }
}

}  // namespace

OrderedJson parse_json(const std::string& text, const std::string& file) {
  std::vector<std::set<std::string>> open_objects;
  const auto check = [&](int depth, OrderedJson::parse_event_t event, OrderedJson& value) {
    using Event = OrderedJson::parse_event_t;
    if (depth > max_depth) throw InputError(fmt::format("{}: is nested too deeply", file));
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && open_objects.back().size() >= max_keys)
      throw InputError(fmt::format("{}: an object has more than {} keys", file, max_keys));
    if (event == Event::key && !open_objects.back().insert(value.get<std::string>()).second)
      throw InputError(
          fmt::format("{}: the key {} stands twice in one object", file, value.dump()));
    return true;
  };
  try {
    return OrderedJson::parse(quote_special_numbers(text), check);
  } catch (const OrderedJson::exception& error) {
    throw InputError(fmt::format("{}: is not JSON: {}", file, error.what()));
  }
}

std::string read_json_text(const std::filesystem::path& path) {
  std::error_code failed;
  if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed))
    throw InputError(fmt::format("{}: cannot read: expected a regular file", path.string()));
  const auto size = std::filesystem::file_size(path, failed);
  if (!failed && size > max_json_bytes)
    throw InputError(
        fmt::format("{}: has {} bytes, at most {} are read", path.string(), size, max_json_bytes));
  return read_file(path);
}

std::string dump_json(const OrderedJson& json) {
  OrderedJson copy = json;
  put_placeholders(copy);
  std::string text = copy.dump(2) + "\n";
  for (const char* name : special_values) {
    const std::string quoted = fmt::format("\"{}\"", placeholder(name));
    for (auto at = text.find(quoted); at != std::string::npos; at = text.find(quoted, at))
      text.replace(at, quoted.size(), name);
  }
  return text;
}

double number_of(const OrderedJson& json, const std::string& what) {
  if (json.is_number()) return json.get<double>();
  if (!is_special(json))
    throw InputError(fmt::format("{} is {}, expected a number", what, json.dump()));
  const auto name = json.at(special_key).get<std::string>();
  if (name == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return name[0] == '-' ? -HUGE_VAL : HUGE_VAL;
}

}  // namespace elastic
