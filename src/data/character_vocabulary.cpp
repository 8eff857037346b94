// SPDX-License-Identifier: Apache-2.0
// Tokens of characters and back.
#include "data/character_vocabulary.hpp"

#include <array>

#include "base/error.hpp"

namespace elastic {
namespace {
constexpr token_t kFirst = 3;  // after pad, begin, end
constexpr std::string_view kCharacters =
    "0123456789abcdefghijklmnopqrstuvwxyz+-=<>,:#?*/.;!()[]{}|&^_ ";
static_assert(static_cast<index_t>(kCharacters.size()) + kFirst == CharacterVocabulary::size);

constexpr auto kTokenOf = [] {
  std::array<token_t, 256> result{};  // 0 (pad): not in the vocabulary
  token_t next = kFirst;
  for (const char c : kCharacters) result[static_cast<unsigned char>(c)] = next++;
  return result;
}();
}  // namespace

std::string_view CharacterVocabulary::characters() { return kCharacters; }

std::vector<token_t> CharacterVocabulary::encode(std::string_view text) {
  std::vector<token_t> result;
  result.reserve(text.size());
  for (const char c : text) {
    const token_t token = kTokenOf[static_cast<unsigned char>(c)];
    if (token == 0)
      throw InputError(
          fmt::format("character 0x{:02x} of \"{}\" has no token; expected one of \"{}\"",
                      static_cast<unsigned char>(c), text, kCharacters));
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
    if (token >= kFirst) result += kCharacters[static_cast<std::size_t>(token - kFirst)];
  }
  return result;
}

}  // namespace elastic
