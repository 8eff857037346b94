// SPDX-License-Identifier: Apache-2.0
// Text helpers: byte checks, quoting, nearest names.
#include "deck/text.hpp"

#include <gtest/gtest.h>

namespace elastic::test {
namespace {

using namespace impl;

TEST(Text, SplitsAndTrims) {
  using Items = std::vector<std::string_view>;
  EXPECT_EQ(split_items(" a ,b,, c "), (Items{"a", "b", "", "c"}));
  EXPECT_EQ(split_items("a,"), (Items{"a", ""}));
  EXPECT_TRUE(split_items(" \t ").empty());
  EXPECT_EQ(split_items(R"("a, b" , c"d,e", "f")"),
            (Items{R"("a, b")", R"(c"d)", R"(e")", R"("f")"}));
  EXPECT_EQ(split_items(R"(a#b, "c,d")"), (Items{"a#b", R"("c,d")"}));
}

TEST(Text, QuotesOpenWhereAValueOrAnItemBegins) {
  const auto marks = [](std::string_view line) {
    return without_quoted(line, QuotesIn::line).marks;
  };
  EXPECT_EQ(marks(R"(x = "#" # "c")"), R"(x =     # "c")");
  EXPECT_EQ(marks(R"(x = a, "b,#", c)"), R"(x = a,      , c)");
  EXPECT_EQ(marks(R"(x = "a\"#")"), R"(x =       )");
  EXPECT_EQ(marks(R"(x = a "b" # 5")"), R"(x = a "b" # 5")");
  EXPECT_EQ(marks(R"("x" # = "y)"), R"("x" # = "y)");
  EXPECT_EQ(without_quoted(R"(x = "a # b)", QuotesIn::line).unclosed, 4u);
  EXPECT_EQ(without_quoted(R"("a\")", QuotesIn::value).unclosed, 0u);
  EXPECT_EQ(without_quoted(R"(a # "b)", QuotesIn::value).unclosed, std::string_view::npos);
}

TEST(Text, UnquoteGivesWhatQuotesHold) {
  std::string text = "before";
  EXPECT_EQ(unquote(R"("#")", text), "");
  EXPECT_EQ(text, "#");
  EXPECT_EQ(unquote(R"("a \"b\" \\ c\n\t")", text), "");
  EXPECT_EQ(text, "a \"b\" \\ c\n\t");
  EXPECT_EQ(unquote(R"(a "b")", text), "");
  EXPECT_EQ(text, R"(a "b")");
  EXPECT_NE(unquote(R"("a" b)", text).find("stands 'b'"), std::string::npos);
  EXPECT_NE(unquote(R"("a\x")", text).find("tab"), std::string::npos);
  EXPECT_NE(unquote(R"("a)", text).find("not closed"), std::string::npos);
  EXPECT_NE(unquote(R"("a\)", text), "");
  EXPECT_EQ(text, R"(a "b")") << "left as it was";
}

TEST(Text, QuotesOnlyWhatWouldNotReadBack) {
  for (const char* plain : {"", "toy", "runs/a b", "x=y", "a, b", "back\\slash", "it's", "a&b"})
    EXPECT_EQ(quote_if_needed(plain, false), plain);
  for (const char* text :
       {"#", "a # b", " a", "a ", "\"", "a\"b", "a &", "&", "\n", "a\tb\n", "\\\"#"}) {
    std::string read;
    const std::string written = quote_if_needed(text, false);
    EXPECT_NE(written, text);
    EXPECT_EQ(without_quoted("x = " + written, QuotesIn::line).marks.find_first_not_of("x= "),
              std::string::npos)
        << written;
    EXPECT_EQ(unquote(written, read), "");
    EXPECT_EQ(read, text);
  }
  EXPECT_EQ(quote_if_needed("a, b", true), "\"a, b\"");
}

TEST(Text, AcceptsUtf8AndNamesTheBadByte) {
  EXPECT_EQ(find_bad_byte("plain\ttext \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"), "");
  EXPECT_NE(find_bad_byte(std::string_view("ab\0c", 4)).find("0x00 in column 3"),
            std::string::npos);
  for (const char* bad : {"\xe4", "\xc0\x80", "\xc2\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xe2\x82", "\xff", "\x7f", "\x1b[1m", "a\rb"})
    EXPECT_NE(find_bad_byte(bad), "") << bad;
}

TEST(Text, ShortensBetweenCharacters) {
  EXPECT_EQ(shorten("short"), "short");
  std::string euros;
  for (int i = 0; i < 50; ++i) euros += "\xe2\x82\xac";
  for (int shift = 0; shift < 3; ++shift) {
    const std::string cut = shorten(std::string(shift, 'x') + euros);
    EXPECT_LE(cut.size(), 60u);
    EXPECT_EQ(find_bad_byte(cut), "");
  }
}

TEST(Text, EditDistance) {
  EXPECT_EQ(edit_distance("seed", "seed"), 0u);
  EXPECT_EQ(edit_distance("sede", "seed"), 1u);  // neighbours swapped
  EXPECT_EQ(edit_distance("Learning-Rate", "learning_rate"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Text, NearestName) {
  const std::vector<std::string> names = {"hidden_size", "num_heads", "num_groups"};
  EXPECT_EQ(nearest("num_head", names)->name, "num_heads");
  EXPECT_EQ(nearest("num_grps", names)->name, "num_groups");
  EXPECT_EQ(nearest("hidden", names)->name, "hidden_size");
  EXPECT_FALSE(nearest("vocabulary", names));
  EXPECT_FALSE(nearest(std::string(100000, 'x'), names));
}

}  // namespace
}  // namespace elastic::test
