// SPDX-License-Identifier: Apache-2.0
// Another reader of these files: project/run_export.py.
#include "interop/hf_tokenizer.hpp"

#include <set>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

const HfVocabulary letters = {.characters = "ab <", .first_id = 3, .pad = 0, .begin = 1, .end = 2};

TEST(HfTokenizer, BytesAreTheirOwnIds) {
  const auto json = tokenizer_json({});
  const auto& words = json.at("model").at("vocab");
  ASSERT_EQ(words.size(), 256u);
  EXPECT_EQ(words.at("a"), 'a');
  EXPECT_EQ(words.at("\u0120"), ' ');  // as GPT-2 writes a space
  EXPECT_EQ(words.at("\u0100"), 0);
  EXPECT_EQ(words.at("\u0143"), 173);  // the soft hyphen is the last that is moved
  EXPECT_EQ(words.at("\u00ff"), 255);
  std::set<int> ids;
  for (const auto& [word, id] : words.items()) ids.insert(id.get<int>());
  EXPECT_EQ(ids.size(), 256u);
  EXPECT_EQ(*ids.rbegin(), 255);
  EXPECT_TRUE(json.at("model").at("merges").empty());
  EXPECT_TRUE(json.at("post_processor").is_null());
  EXPECT_EQ(HfVocabulary{}.size(), 256);
}

TEST(HfTokenizer, CharactersHaveATokenEach) {
  const auto json = tokenizer_json(letters);
  EXPECT_EQ(json.at("model").at("vocab"),
            OrderedJson::parse(
                R"({"<PAD>": 0, "<BEGIN>": 1, "<END>": 2, "a": 3, "b": 4, " ": 5, "<": 6})"));
  EXPECT_FALSE(json.at("model").at("vocab").contains(json.at("model").at("unk_token")));
  EXPECT_EQ(json.at("post_processor").at("special_tokens").at("<BEGIN>").at("ids"),
            OrderedJson::array({1}));
  ASSERT_EQ(json.at("added_tokens").size(), 3u);
  EXPECT_EQ(json.at("added_tokens")[2].at("content"), "<END>");
  EXPECT_EQ(letters.size(), 7);
}

TEST(HfTokenizer, IdsOfAConfig) {
  auto config = OrderedJson::parse(R"({"bos_token_id": 7, "eos_token_id": 8})");
  put_special_ids(letters, config);
  EXPECT_EQ(config,
            OrderedJson::parse(R"({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})"));
  put_special_ids({}, config);  // bytes: none of them ends a text
  EXPECT_TRUE(config.at("eos_token_id").is_null());
}

class HfTokenizerFiles : public InFolder {};

TEST_F(HfTokenizerFiles, AreJson) {
  write_hf_tokenizer(letters, folder);
  EXPECT_EQ(parse_json(bytes_of(folder / "tokenizer.json"), ""), tokenizer_json(letters));
  const auto settings = parse_json(bytes_of(folder / "tokenizer_config.json"), "");
  EXPECT_EQ(settings.at("eos_token"), "<END>");
  EXPECT_EQ(parse_json(bytes_of(folder / "generation_config.json"), "").at("eos_token_id"), 2);
}

}  // namespace
}  // namespace elastic::test
