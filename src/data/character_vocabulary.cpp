// SPDX-License-Identifier: Apache-2.0
// Tokens of characters and back.
#include "data/character_vocabulary.hpp"

#include <array>

#include "base/error.hpp"

namespace elastic {
namespace {
constexpr token_t first_character = 3;  // after pad, begin, end
constexpr std::string_view known_characters =
    "0123456789abcdefghijklmnopqrstuvwxyz+-=<>,:#?*/.;!()[]{}|&^_ ";
static_assert(static_cast<index_t>(known_characters.size()) + first_character ==
              CharacterVocabulary::size);

constexpr auto token_of = [] {
  std::array<token_t, 256> result{};  // 0 (pad): not in the vocabulary
  token_t next = first_character;
  for (const char c : known_characters) result[static_cast<unsigned char>(c)] = next++;
  return result;
}();
}  // namespace

std::string_view CharacterVocabulary::characters() { return known_characters; }

std::vector<token_t> CharacterVocabulary::encode(std::string_view text) {
  std::vector<token_t> result;
  result.reserve(text.size());
  for (const char c : text) {
    const token_t token = token_of[static_cast<unsigned char>(c)];
    if (token == 0)
      throw InputError(
          fmt::format("character 0x{:02x} of \"{}\" has no token; expected one of \"{}\"",
                      static_cast<unsigned char>(c), text, known_characters));
    result.push_back(token);
  }
  return result;
}

std::string CharacterVocabulary::decode(std::span<const token_t> tokens) {
  std::string result;
  for (const token_t token : tokens) {
    if (token < 0 || token >= size)
      throw InputError(fmt::format("token {} is outside the vocabulary [0, {})", token, size));
    if (token == end) break;
    if (token >= first_character)
      result += known_characters[static_cast<std::size_t>(token - first_character)];
  }
  return result;
}

}  // namespace elastic
