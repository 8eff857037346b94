// SPDX-License-Identifier: Apache-2.0
#include "interop/strict_json.hpp"

#include <sys/stat.h>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

std::string error_of(const std::string& text) {
  return message_of<InputError>([&] { parse_json(text, "a.json"); });
}

TEST(StrictJson, KeysTwiceAreRefused) {
  contains(error_of(R"({"a": 1, "b": 2, "a": 3})"), "a.json: the key \"a\" stands twice");
  contains(error_of(R"({"x": {"b": 2, "b": 2}})"), "\"b\" stands twice");
  contains(error_of("{\"a\": 1, \"\\u0061\": 2}"), "stands twice");  // the same key, spelled apart
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": {"a": 1}, "c": [{"a": 1}, {"a": 2}]})", ""));
}

TEST(StrictJson, WhatIsNoJson) {
  for (const char* text : {"", "{", "{\"a\": 1,}", "{'a': 1}", "[1 2]", "{\"a\": xInfinity}",
                           "{\"a\": Infinityy}", "{\"a\": \"\xff\"}"})
    contains(error_of(text), "a.json: is not JSON");
  contains(error_of(std::string(40, '[') + std::string(40, ']')), "nested too deeply");
  contains(error_of(std::string(1 << 20, '[')), "nested too deeply");
}

TEST(StrictJson, BareNumbersInBothSpellings) {
  const auto json = parse_json(
      R"({"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": {"__float__": "Infinity"},
          "text": "Infinity, \"NaN\" and \\", "e": 3})",
      "");
  EXPECT_EQ(number_of(json["a"][1], "a"), HUGE_VAL);
  EXPECT_EQ(number_of(json["b"], "b"), -HUGE_VAL);
  EXPECT_TRUE(std::isnan(number_of(json["c"], "c")));
  EXPECT_EQ(number_of(json["d"], "d"), HUGE_VAL);
  EXPECT_EQ(number_of(json["e"], "e"), 3);
  EXPECT_EQ(json["text"], "Infinity, \"NaN\" and \\");
  contains(message_of<InputError>([&] { number_of(json["text"], "text"); }), "expected a number");

  const std::string text = dump_json(json);
  contains(text, "\"b\": -Infinity,");
  contains(text, "\"d\": Infinity,");
  contains(text, "\"c\": NaN");
  EXPECT_EQ(text.find("__float__"), std::string::npos);
  EXPECT_EQ(parse_json(text, ""), json);
  EXPECT_LT(text.find("\"a\""), text.find("\"text\""));  // the order of keys stays
}

TEST(StrictJson, HostileSizesEndInAMessage) {
  const auto refusal = [](const std::string& text) {
    return message_of<InputError>([&] { parse_json(text, "a.json"); });
  };
  contains(refusal(std::string(1000000, '[')), "a.json: is nested too deeply");
  std::string objects, keys = "{";
  for (int i = 0; i < 1000000; ++i) objects += "{\"a\":";
  contains(refusal(objects), "is nested too deeply");
  for (int i = 0; i < 1000000; ++i) keys += fmt::format("\"{}\":0,", i);
  contains(refusal(keys + "\"x\":0}"), "an object has more than 32768 keys");
  EXPECT_NO_THROW(parse_json("[" + std::string(1000000, '0').replace(1, 0, ".") + "]", ""));
}

class StrictJsonFile : public InFolder {};
TEST_F(StrictJsonFile, LongFilesAreRefused) {
  write_bytes(folder / "long.json", std::string(max_json_bytes + 1, ' '));
  contains(message_of<InputError>([&] { read_json_text(folder / "long.json"); }), "at most");
  contains(message_of<InputError>([&] { read_json_text(folder / "none.json"); }), "cannot read");
  contains(message_of<InputError>([&] { read_json_text(folder); }), "expected a regular file");
  contains(message_of<InputError>([&] { read_json_text("/dev/zero"); }), "expected a regular file");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  contains(message_of<InputError>([&] { read_json_text(folder / "pipe"); }), "a regular file");
}

}  // namespace
}  // namespace elastic::test
