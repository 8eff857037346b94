// SPDX-License-Identifier: Apache-2.0
// Binding: defects of the program are found when it binds, not when a user trips over them.
#include "deck/schema.hpp"

#include <gtest/gtest.h>

#include "unit_tests/deck/example.hpp"

namespace elastic::test {
namespace {

TEST(Schema, KnowsNamesAndDefaults) {
  ExampleConfig config;
  Schema schema;
  config.bind(schema);
  EXPECT_EQ(schema.block_names(),
            (std::vector<std::string>{"job", "model", "optimizer", "router", "distill", "stage1"}));
  EXPECT_EQ(schema.find("router")->key_names(),
            (std::vector<std::string>{"tau_end", "weights", "files"}));
  EXPECT_EQ(schema.find("router")->find("files")->default_text, "a.h5, b.h5");
  EXPECT_EQ(schema.find("model")->find("activation")->default_text, "squared_relu");
  EXPECT_EQ(schema.find("model")->find("widths")->expected, "a list of integers, each >= 1");
  EXPECT_EQ(schema.find("model")->find("chunk_size")->expected, "one of 32, 64, 128");
  EXPECT_EQ(schema.find("optimizer")->find("learning_rate")->expected, "a number in (0, 1]");
  EXPECT_EQ(schema.find("nowhere"), nullptr);
}

TEST(Schema, RefusesDefectsOfTheProgram) {
  Schema schema;
  index_t count = 0;
  std::string text = "a\x01", pattern = "M M";
  std::vector<std::string> words = {"a", ""};
  SchemaBlock& block = schema.block("a", "");
  block.bind("count", &count);
  EXPECT_THROW(schema.block("a", ""), ContractError);
  EXPECT_THROW(schema.block("a b", ""), ContractError);
  EXPECT_THROW(block.bind("count", &count), ContractError);
  EXPECT_THROW(block.bind("two words", &count), ContractError);
  EXPECT_THROW(block.bind("positive", &count, {.range = Interval::positive()}), ContractError);
  EXPECT_THROW(block.bind("text", &text), ContractError);
  EXPECT_THROW(block.bind("words", &words), ContractError);
  EXPECT_THROW(block.bind_pattern("pattern", &pattern, "M"), ContractError);
  enum class Unnamed { one, two } value = Unnamed::two;
  EXPECT_THROW(block.bind("value", &value, {{"one", Unnamed::one}}), ContractError);
  EXPECT_THROW(block.replaced("count", "'counts'"), ContractError);
  EXPECT_EQ(block.keys().size(), 1u);
}

TEST(Schema, ReferencesStayValid) {
  Schema schema;
  SchemaBlock& first = schema.block("b0", "");
  for (int i = 1; i < 100; ++i) schema.block(fmt::format("b{}", i), "");
  EXPECT_EQ(&first, schema.find("b0"));
}

}  // namespace
}  // namespace elastic::test
