// SPDX-License-Identifier: Apache-2.0
// Text helpers: byte checks, quoting, nearest names.
#include "deck/text.hpp"

#include <gtest/gtest.h>

namespace elastic::test {
namespace {

using namespace impl;

TEST(Text, SplitsAndTrims) {
  EXPECT_EQ(split(" a ,b,, c ", ','), (std::vector<std::string_view>{"a", "b", "", "c"}));
  EXPECT_EQ(split("a,", ','), (std::vector<std::string_view>{"a", ""}));
  EXPECT_TRUE(split(" \t ", ',').empty());
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
