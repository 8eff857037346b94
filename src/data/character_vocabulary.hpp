// SPDX-License-Identifier: Apache-2.0
// One token per character: the vocabulary of the generated problems.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.hpp"

namespace elastic {

class CharacterVocabulary {
 public:
  static constexpr token_t pad = 0, begin = 1, end = 2;  ///< padding, begin and end of a document
  static constexpr index_t size = 64;                    ///< V

  /// Tokens of the characters of `text`.
  /// Throws InputError naming a character that is not in the vocabulary.
  static std::vector<token_t> encode(std::string_view text);
  /// Characters of the tokens, up to the first `end`; `pad` and `begin` give none.
  /// Throws InputError for ids outside [0, V).
  static std::string decode(std::span<const token_t> tokens);
  /// The characters in the order of their tokens, from token 3 on.
  static std::string_view characters();
};

}  // namespace elastic
