// SPDX-License-Identifier: Apache-2.0
// Changes of budget as written: numbers, texts, tokens, and what is none; the keys of a deck.
#include "config/budget_change.hpp"

#include <gmock/gmock.h>

#include "data/character_vocabulary.hpp"

namespace elastic::test {
namespace {
using testing::HasSubstr;
using Tokens = std::vector<token_t>;

DataConfig of(SourceKind source, index_t vocab_size = 0) {
  DataConfig data;
  data.source = source;
  data.vocab_size = vocab_size;
  return data;
}
const DataConfig reasoning = of(SourceKind::reasoning), bytes = of(SourceKind::text),
                 ids = of(SourceKind::indexed, 1000);

template <class Body>
std::string error(const Body& body) {
  try {
    body();
  } catch (const InputError& caught) {
    return caught.what();
  }
  return "no error";
}

TEST(Marker, TextsAndTokens) {
  const auto encoded = [](const char* text) { return CharacterVocabulary::encode(text); };
  EXPECT_EQ(read_marker(reasoning, "#"), encoded("#"));
  EXPECT_EQ(read_marker(reasoning, "12"), encoded("12"));  // no number can be meant
  EXPECT_EQ(read_marker(reasoning, "text:a=b"), encoded("a=b"));
  EXPECT_EQ(read_marker(reasoning, "text:token:5"), encoded("token:5"));
  EXPECT_EQ(read_marker(reasoning, "token:63"), Tokens{63});
  EXPECT_EQ(read_marker(bytes, "A\n"), (Tokens{65, 10}));
  EXPECT_EQ(read_marker(ids, "token:999"), Tokens{999});
}

TEST(Marker, WhatIsNone) {
  const auto of_data = [](const DataConfig& data, const char* text) {
    return error([&] { read_marker(data, text); });
  };
  EXPECT_THAT(of_data(reasoning, "X"), HasSubstr("has no token; expected one of"));
  EXPECT_THAT(of_data(reasoning, "text:"), HasSubstr("the marker is empty"));
  EXPECT_THAT(of_data(reasoning, "token:64"), HasSubstr("expected token:ID with an id in [0, 64)"));
  EXPECT_THAT(of_data(reasoning, "token:-1"), HasSubstr("in [0, 64)"));
  EXPECT_THAT(of_data(reasoning, "token:"), HasSubstr("expected token:ID"));
  EXPECT_THAT(of_data(reasoning, "token:2"), HasSubstr("ends a text"));
  EXPECT_THAT(of_data(bytes, "token:256"), HasSubstr("in [0, 256)"));
  EXPECT_THAT(of_data(ids, "token:1000"), HasSubstr("in [0, 1000)"));
  EXPECT_THAT(of_data(ids, "#"), HasSubstr("have no text here; expected token:ID"));
}

TEST(BudgetChanges, InTheirOrder) {
  const auto changes =
      read_budget_changes(reasoning, {"0.5@4", "1@#", "half@text:12", "0.5@token:9", "1@10"});
  ASSERT_EQ(changes.size(), 5u);
  EXPECT_EQ(changes[0].budget, "0.5");
  EXPECT_EQ(changes[0].after, 4);
  EXPECT_TRUE(changes[0].marker.empty());
  EXPECT_EQ(changes[1].marker, CharacterVocabulary::encode("#"));
  EXPECT_EQ(changes[1].after, 0);
  EXPECT_EQ(changes[2].budget, "half");
  EXPECT_EQ(changes[2].marker, CharacterVocabulary::encode("12"));
  EXPECT_EQ(changes[3].marker, Tokens{9});
  EXPECT_EQ(changes[4].after, 10);
  EXPECT_EQ(read_budget_changes(bytes, {"1@@"})[0].marker, Tokens{'@'});
}

TEST(BudgetChanges, WhatIsNone) {
  const auto of_texts = [](const std::vector<std::string>& texts) {
    return error([&] { read_budget_changes(reasoning, texts); });
  };
  for (const char* text : {"0.5", "0.5@", "0.5@0", "0.5@-1", "0.5@+3", "0.5@3x", "0.5@1e3",
                           "0.5@12.5", "0.5@99999999999999999999"})
    EXPECT_THAT(of_texts({text}), HasSubstr(std::string(text) + ": expected BUDGET@N with N = 1 or "
                                                                "more"))
        << text;
  EXPECT_THAT(of_texts({"1@5", "0.5@#", "1@5"}), HasSubstr("N = 6 or more"));
  EXPECT_THAT(of_texts({"1@X"}), HasSubstr("1@X: character 0x58"));
}

std::string mistakes(const std::vector<std::string>& overrides) {
  return error([&] {
    read_run_config(
        "<pretrain>\nsteps = 10\n<elastic>\nbudgets = 1, 0.5\nbudget_names = large, small\n"
        "<stage1>\nsteps = 10\n",
        "toy.in", overrides);
  });
}

TEST(BudgetChanges, KeysOfADeck) {
  EXPECT_EQ(mistakes({"generate/budget=small", "generate/switch=large@#, \"0.7@ \"",
                      "evaluate/switch_marker=#"}),
            "no error");
  EXPECT_THAT(
      mistakes({"generate/budget=smal"}),
      HasSubstr("<generate>/budget = smal: 'smal' is no budget; expected a number in (0, 1] "
                "or one of large, small; nearest 'small'"));
  EXPECT_THAT(mistakes({"generate/switch=large@3, 2@4"}), HasSubstr("'2' is no budget"));
  EXPECT_THAT(mistakes({"generate/switch=large@3, small@2"}), HasSubstr("N = 4 or more"));
  EXPECT_THAT(mistakes({"evaluate/switch_marker=X"}),
              HasSubstr("<evaluate>/switch_marker = X: character 0x58"));
  EXPECT_THAT(mistakes({"evaluate/switch_marker=#", "data/source=text", "data/train=a.txt"}),
              HasSubstr("only generated problems"));
}

}  // namespace
}  // namespace elastic::test
