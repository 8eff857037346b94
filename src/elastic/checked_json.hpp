// SPDX-License-Identifier: Apache-2.0
// JSON texts of checkpoints, which nobody vouches for: every value is checked for its type and
// range when it is taken out. Messages name key and value; callers put file and text before them.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// An object of a text of at most 4 MiB, nested at most 4 deep, no key of it twice. Throws
/// InputError.
nlohmann::json parse_checked_json(const std::string& text);

/// The whole number in [low, high] under a key. Throws InputError.
index_t whole_number(const nlohmann::json& object, const char* key, index_t low, index_t high);
/// The finite number under a key. Throws InputError.
double real_number(const nlohmann::json& object, const char* key);
/// The text under a key. Throws InputError.
std::string word(const nlohmann::json& object, const char* key);
/// The list under a key, of at most `most` items. Throws InputError.
const nlohmann::json& list(const nlohmann::json& object, const char* key, index_t most);
/// The list of whole numbers in [low, high] under a key, at most `most` of them. Throws InputError.
std::vector<index_t> whole_numbers(const nlohmann::json& object, const char* key, index_t low,
                                   index_t high, index_t most);

}  // namespace elastic
