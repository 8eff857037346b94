// SPDX-License-Identifier: Apache-2.0
// Grammar of the deck: every form, every mistake of grammar, and arbitrary bytes.
#include "deck/parser.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.hpp"
#include "unit_tests/deck/example.hpp"
#include "deck/resolve.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

std::string only_mistake(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Deck deck(text, "x.in", overrides);
  EXPECT_EQ(deck.mistakes().size(), 1u) << text;
  return DeckReport(deck).text();
}

TEST(Parser, BlocksKeysCommentsAndContinuation) {
  const Deck deck(
      "\xef\xbb\xbf# c\r\n<a>\r\nx=1# one\r\n  y  =  p = q/r \r\n\n< b >  # two\nz = 1, 2, & # "
      "more\n  3,&\n4\nempty =\n",
      "x.in");
  EXPECT_TRUE(deck.mistakes().empty()) << DeckReport(deck).text();
  ASSERT_EQ(deck.entries().size(), 4u);
  EXPECT_EQ(deck.find("a", "x")->value, "1");
  EXPECT_EQ(deck.find("a", "y")->value, "p = q/r");
  EXPECT_EQ(deck.find("b", "z")->value, "1, 2, 3, 4");
  EXPECT_EQ(deck.find("b", "z")->place.line, 7);
  EXPECT_EQ(deck.find("b", "empty")->value, "");
  EXPECT_EQ(deck.find("b", "empty")->place.line, 10);
  EXPECT_EQ(deck.find("a", "z"), nullptr);
  EXPECT_TRUE(deck.has_block("b"));
  EXPECT_FALSE(deck.has_block("c"));
}

TEST(Parser, QuotesHideTheMarksOfTheGrammar) {
  const Deck deck(
      "<a>\nx = \"#\" # one\ny = \"p & \" &  # two\n \"q = # r\", s # three\nz = 5\" # four\n",
      "x.in", {"a/v=#", "a/w=\"b\" &"});
  EXPECT_TRUE(deck.mistakes().empty()) << DeckReport(deck).text();
  EXPECT_EQ(deck.find("a", "x")->value, "\"#\"");
  EXPECT_EQ(deck.find("a", "y")->value, "\"p & \" \"q = # r\", s");
  EXPECT_EQ(deck.find("a", "z")->value, "5\"");
  EXPECT_EQ(deck.find("a", "v")->value, "#");
  EXPECT_EQ(deck.find("a", "w")->value, "\"b\" &");
}

TEST(Parser, OverridesReplaceAddAndTheLastCounts) {
  const Deck deck("<a>\nx = 1\n", "x.in", {"a/x=2", " b/path = /data/lr=1 ", "a/x=3"});
  EXPECT_TRUE(deck.mistakes().empty());
  EXPECT_EQ(deck.find("a", "x")->value, "3");
  EXPECT_EQ(deck.find("a", "x")->place.origin, ValueOrigin::command_line);
  EXPECT_EQ(deck.find("b", "path")->value, "/data/lr=1");
  EXPECT_EQ(deck.blocks().back().name, "b");
}

TEST(Parser, NumberedBlocksInOrderOfTheirNumbers) {
  const Deck deck("<stage10>\n<stage2>\n<stage>\n<stage0>\n<stage01>\n<stage3x>\n<other1>\n",
                  "x.in", {"stage1/x=1"});
  EXPECT_EQ(deck.numbered_blocks("stage"),
            (std::vector<std::string>{"stage1", "stage2", "stage10"}));
}

TEST(Parser, EveryMistakeOfGrammar) {
  EXPECT_THAT(only_mistake("\n<a\n"), HasSubstr("x.in:2: expected a block <name>"));
  EXPECT_THAT(only_mistake("<>\nx = 1\n"),
              HasSubstr("x.in:1: expected a block <name>"));  // x is not blamed
  EXPECT_THAT(only_mistake("<a>\nlearning_rate 1\n"), HasSubstr("x.in:2: expected 'key = value'"));
  EXPECT_THAT(only_mistake("<a>\n2x = 1\n"), HasSubstr("x.in:2: '2x' is not a key name"));
  EXPECT_THAT(only_mistake("<a>\n= 1\n"), HasSubstr("x.in:2: '' is not a key name"));
  EXPECT_THAT(only_mistake("x = 1\n<a>\n"),
              HasSubstr("x.in:1: key 'x' stands before the first <block>"));
  EXPECT_THAT(only_mistake("<a>\nx = 1\ny = 2\nx = 3\n"),
              HasSubstr("x.in:4 <a>/x: duplicate key, first given on line 2"));
  EXPECT_THAT(only_mistake("<a>\n<b>\n<a>\n"),
              HasSubstr("x.in:3: block <a> was opened before on line 1"));
  EXPECT_THAT(only_mistake("<a>\nx = 1, &\n"), HasSubstr("x.in:2: ends with &"));
  EXPECT_THAT(only_mistake("<a>\nx = 1, &\n<b>\n"), HasSubstr("x.in:2: ends with &"));
  EXPECT_THAT(only_mistake("<a>\nx = 1, &\ny = 2\n"), HasSubstr("x.in:2: ends with &"));
  EXPECT_THAT(only_mistake("<a>\nx = \x01\n"), HasSubstr("x.in:2: byte 0x01 in column 5"));
  for (const char* bad : {"x=1", "a/x", "/x=1", "a/=1", "<a>/x=1", "", "="})
    EXPECT_THAT(only_mistake("", {bad}), HasSubstr("command line: expected block/key=value"));
  EXPECT_THAT(only_mistake("<a>\nx = \"b # c\n"),
              HasSubstr("x.in:2: the quote in column 5 is not closed on its line"));
  EXPECT_THAT(only_mistake("<a>\nx = b, &\n \"c\n"),
              HasSubstr("x.in:3: the quote in column 2 is not closed on its line"));
  EXPECT_THAT(only_mistake("<a>\nx = #\n"), HasSubstr("x.in:2: # begins a comment"));
  EXPECT_THAT(only_mistake("", {"a/x=\"b"}), HasSubstr("command line: the quote is not closed"));
  EXPECT_THAT(only_mistake("", {"a/x=1\ny=2"}), HasSubstr("command line: byte 0x0a"));
}

TEST(Parser, ReadsFilesAndRefusesOthers) {
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::temp_directory_path() / ("elastic_deck_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
    return (folder / name).string();
  };
  const auto error = [](const std::string& path) -> std::string {
    try {
      read_deck_file(path);
    } catch (const InputError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(read_deck_file(write("toy.in", "<a>\n")), "<a>\n");
  EXPECT_EQ(read_deck_file(write("limit.in", std::string(1 << 20, ' '))).size(),
            std::size_t(1 << 20));
  EXPECT_THAT(error((folder / "tyo.in").string()),
              HasSubstr("No such file or directory; nearest file 'toy.in'"));
  EXPECT_THAT(error(folder.string()), HasSubstr("it is a folder"));
  EXPECT_THAT(error(write("big.in", std::string((1 << 20) + 1, ' '))),
              HasSubstr("larger than 1 MiB"));
  EXPECT_THAT(error(write("weights.bin", std::string("<a>\0b", 5))), HasSubstr("not a text file"));
  fs::remove_all(folder);
}

/// Parses and resolves; whatever the bytes, the outcome is a report of printable text.
void expect_survives(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Deck deck(text, "x.in", overrides);
  ExampleConfig config;
  Schema schema;
  config.bind(schema);
  const std::string report = resolve(deck, schema).text();
  for (const char c : report)
    ASSERT_TRUE(c == '\n' || c == '\t' || static_cast<unsigned char>(c) >= 0x20);
  ASSERT_EQ(Deck(resolved_text(schema), "y.in").mistakes().size(), 0u);
}

TEST(Parser, SurvivesRandomBytes) {
  std::mt19937 random(1);
  const std::string grammar = "<>=#&,/\"\\ \t\r\n.-eE019abM*\0\xc3\xa4\xff";
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 200, ' '), argument(random() % 20, ' ');
    for (char& c : text)
      c = round % 2 ? grammar[random() % grammar.size()] : static_cast<char>(random());
    for (char& c : argument) c = grammar[random() % grammar.size()];
    expect_survives(text, {argument});
  }
}

TEST(Parser, SurvivesTruncatedAndMutatedDecks) {
  for (std::size_t n = 0; n <= example_text.size(); ++n) expect_survives(example_text.substr(0, n));
  std::mt19937 random(2);
  for (int round = 0; round < 3000; ++round) {
    std::string text = example_text;
    for (int i = 0; i < 3; ++i) text[random() % text.size()] = static_cast<char>(random());
    expect_survives(text);
  }
}

TEST(Parser, LargeNonsenseIsQuick) {
  std::string text;
  for (int i = 0; text.size() < (1u << 20); ++i) text += "<b" + std::to_string(i) + ">\nx=1\nx=1\n";
  expect_survives(text);
}

}  // namespace
}  // namespace elastic::test
