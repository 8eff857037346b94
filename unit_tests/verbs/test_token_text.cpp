// SPDX-License-Identifier: Apache-2.0
// Tokens in and out: files of ids with their mistakes, texts of each vocabulary.
#include "verbs/token_text.hpp"

#include "data/character_vocabulary.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

using Lines = std::vector<std::vector<token_t>>;

class TokenText : public InFolder {
 protected:
  Lines read(const std::string& text, index_t vocab = 64) const {
    write_bytes(folder / "ids.txt", text);
    return read_token_lines(folder / "ids.txt", vocab);
  }
  std::string error(const std::string& text) const {
    return message_of<InputError>([&] { read(text); });
  }
};

TEST_F(TokenText, OneListPerLine) {
  EXPECT_EQ(read("1 2 63\n0\n"), (Lines{{1, 2, 63}, {0}}));
  EXPECT_EQ(read("\n  1\t2 \r\n\n 3"), (Lines{{1, 2}, {3}}));
}

TEST_F(TokenText, MistakesNameFileLineAndWord) {
  contains(error("1 2\n\n3 x4 5\n"), "ids.txt, line 3: 'x4' is no token id");
  contains(error("1.5"), "line 1: '1.5' is no token id; expected whole numbers in [0, 64)");
  contains(error("1,2"), "'1,2' is no token id");
  contains(error("1\n64\n"), "ids.txt, line 2: token 64 is outside the vocabulary [0, 64)");
  contains(error("-1"), "token -1 is outside");
  contains(error("99999999999999999999"), "is no token id");
  contains(error(""), "ids.txt: the file of token ids is empty");
  contains(error(" \n\n"), "holds no token ids");
  contains(message_of<InputError>([&] { read_token_lines(folder / "absent.txt", 64); }),
           "absent.txt");
}

TEST(TextOfTokens, EachVocabulary) {
  const auto prompt = encode_prompt(SourceKind::reasoning, "1+2=");
  ASSERT_EQ(prompt.size(), 5u);
  EXPECT_EQ(prompt[0], CharacterVocabulary::begin);
  EXPECT_EQ(decode_text(SourceKind::reasoning, prompt), "1+2=");
  EXPECT_EQ(end_token(SourceKind::reasoning), CharacterVocabulary::end);
  const auto bytes = encode_prompt(SourceKind::text, "a\xc3\xbc");
  EXPECT_EQ(bytes, (std::vector<token_t>{97, 195, 188}));
  EXPECT_EQ(decode_text(SourceKind::text, bytes), "a\xc3\xbc");
  EXPECT_EQ(end_token(SourceKind::text), -1);
  EXPECT_THROW(decode_text(SourceKind::text, {300}), InputError);
  EXPECT_THROW(encode_prompt(SourceKind::reasoning, "\xff"), InputError);
  EXPECT_THROW(encode_prompt(SourceKind::indexed, "a"), InputError);
  EXPECT_THROW(decode_text(SourceKind::indexed, {1}), InputError);
  EXPECT_EQ(decode_ids({3, 1, 4}), "3 1 4");
}

}  // namespace
}  // namespace elastic::test
