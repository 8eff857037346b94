// SPDX-License-Identifier: Apache-2.0
// Characters and their tokens.
#include "data/character_vocabulary.hpp"

#include <set>

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(CharacterVocabulary, RoundTripOfAllCharacters) {
  const std::string all(CharacterVocabulary::characters());
  const auto tokens = CharacterVocabulary::encode(all);
  EXPECT_EQ(CharacterVocabulary::decode(tokens), all);
  EXPECT_EQ(std::set<token_t>(tokens.begin(), tokens.end()).size(), all.size());
  EXPECT_EQ(tokens.front(), 3);
  EXPECT_EQ(tokens.back(), CharacterVocabulary::size - 1);
}

TEST(CharacterVocabulary, DecodeStopsAtEndAndSkipsPadding) {
  auto tokens = CharacterVocabulary::encode("12");
  tokens.insert(tokens.begin(), CharacterVocabulary::begin);
  tokens.insert(tokens.begin() + 2, CharacterVocabulary::pad);
  tokens.push_back(CharacterVocabulary::end);
  tokens.push_back(CharacterVocabulary::encode("3")[0]);
  EXPECT_EQ(CharacterVocabulary::decode(tokens), "12");
}

TEST(CharacterVocabulary, Errors) {
  EXPECT_THAT(input_error([] { CharacterVocabulary::encode("1A"); }), HasSubstr("0x41"));
  EXPECT_THROW(CharacterVocabulary::encode(std::string("\xff", 1)), InputError);
  for (const token_t bad : {-1, 64}) {
    const std::vector<token_t> tokens = {3, bad};
    EXPECT_THAT(input_error([&] { CharacterVocabulary::decode(tokens); }),
                HasSubstr(fmt::format("token {}", bad)));
  }
}

}  // namespace
}  // namespace elastic::test
