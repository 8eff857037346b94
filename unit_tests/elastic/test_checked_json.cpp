// SPDX-License-Identifier: Apache-2.0
// Values that are taken out of a JSON text have the type and the range that was asked for.
#include "elastic/checked_json.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

template <class Work>
std::string error(const Work& work) {
  try {
    work();
  } catch (const InputError& e) {
    return e.what();
  }
  return "none";
}

TEST(CheckedJson, TextsThatAreRefused) {
  const auto refusal = [](const std::string& text) {
    return error([&] { parse_checked_json(text); });
  };
  EXPECT_EQ(refusal("{\"a\": {\"b\": [1]}}"), "none");
  EXPECT_THAT(refusal(""), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal("{\"a\": 1"), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal("{\"a\": 1e400}"), HasSubstr("is not JSON"));
  EXPECT_EQ(refusal("[1]"), "is not a JSON object");
  EXPECT_EQ(refusal("{\"a\": 1, \"a\": 2}"), "the key \"a\" stands twice");
  EXPECT_EQ(refusal(std::string(1000000, '[')), "is nested too deeply");
  EXPECT_THAT(refusal(std::string((4 << 20) + 1, ' ')), HasSubstr("at most 4194304 are read"));
}

TEST(CheckedJson, ValuesHaveTypesAndRanges) {
  const auto json = parse_checked_json(
      R"({"n": 7, "m": -7, "huge": 18446744073709551615, "x": 0.5, "t": "a", "l": [1, 2, 9],
          "mixed": [1, "b"], "nothing": null})");
  EXPECT_EQ(whole_number(json, "n", 0, 7), 7);
  EXPECT_EQ(whole_number(json, "m", -7, 7), -7);
  EXPECT_EQ(error([&] { whole_number(json, "n", 8, 9); }),
            "'n' is 7, expected a whole number from 8 to 9");
  for (const char* key : {"m", "huge", "x", "t", "l", "nothing"})
    EXPECT_THAT(error([&] { whole_number(json, key, 0, 100); }), HasSubstr("expected a whole"));
  EXPECT_EQ(error([&] { whole_number(json, "k", 0, 1); }), "lacks 'k'");
  EXPECT_EQ(real_number(json, "x"), 0.5);
  EXPECT_EQ(real_number(json, "n"), 7);
  for (const char* key : {"t", "l", "nothing"})
    EXPECT_THAT(error([&] { real_number(json, key); }), HasSubstr("expected a finite number"));
  EXPECT_EQ(word(json, "t"), "a");
  EXPECT_EQ(error([&] { word(json, "n"); }), "'n' is 7, expected a text");
  EXPECT_EQ(whole_numbers(json, "l", 1, 9, 3), (std::vector<index_t>{1, 2, 9}));
  EXPECT_THAT(error([&] { whole_numbers(json, "l", 1, 8, 3); }), HasSubstr("'l' is 9"));
  EXPECT_THAT(error([&] { whole_numbers(json, "l", 1, 9, 2); }), HasSubstr("at most 2 items"));
  EXPECT_THAT(error([&] { whole_numbers(json, "mixed", 0, 9, 9); }), HasSubstr("'mixed' is \"b\""));
  EXPECT_EQ(list(json, "mixed", 2).size(), 2u);
  EXPECT_THAT(error([&] { word(json["l"], "n"); }), HasSubstr("where an object is expected"));
}

}  // namespace
}  // namespace elastic::test
