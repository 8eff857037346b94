// SPDX-License-Identifier: Apache-2.0
// JSON from files that nobody vouches for. A key given twice is an error; numbers that JSON does
// not have are read in both spellings that Python writes.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace elastic {

using OrderedJson = nlohmann::ordered_json;

/// Larger JSON texts are refused: no model needs more.
inline constexpr std::size_t max_json_bytes = std::size_t(16) << 20;

/// Bare Infinity, -Infinity and NaN become {"__float__": "Infinity"} etc.
/// Throws InputError naming `file` and the place for text that is not JSON, has a key twice in one
/// object or more than 32,768 of them, or is nested deeper than 32.
OrderedJson parse_json(const std::string& text, const std::string& file);
/// The whole file, at most max_json_bytes. Throws InputError.
std::string read_json_text(const std::filesystem::path& path);
/// Writes {"__float__": "Infinity"} as bare Infinity, which every version of Python's json reads.
std::string dump_json(const OrderedJson& json);
/// A number, one of the special ones included. Throws InputError naming `what`.
double number_of(const OrderedJson& json, const std::string& what);

}  // namespace elastic
