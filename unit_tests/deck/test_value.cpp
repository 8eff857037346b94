// SPDX-License-Identifier: Apache-2.0
// Typed values: what is accepted, what is not, and lossless writing.
#include "deck/value.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace elastic::test {
namespace {

template <class T>
bool reads(const char* text, T expected) {
  T value{};
  return impl::read_scalar(text, value) && value == expected;
}
template <class T>
bool refuses(const char* text) {
  T value{};
  return !impl::read_scalar(text, value) && value == T{};
}

TEST(Value, Integers) {
  EXPECT_TRUE(reads<index_t>("-42", -42));
  EXPECT_TRUE(reads<index_t>("110e9", 110000000000));
  EXPECT_TRUE(reads<index_t>("1.5E3", 1500));
  EXPECT_TRUE(reads<index_t>("9223372036854775807", 9223372036854775807));
  for (const char* bad : {"", "1.5", "4.0", "1e-3", "1.55e1", "1e30", "9223372036854775808", "0x10",
                          "1 2", "12k", "+1", "nan", "true"})
    EXPECT_TRUE(refuses<index_t>(bad)) << bad;
}

TEST(Value, Numbers) {
  EXPECT_TRUE(reads("1e-4", 1e-4));
  EXPECT_TRUE(reads("-3", -3.0));
  EXPECT_TRUE(reads(".5", 0.5));
  for (const char* bad : {"", "inf", "nan", "1e999", "1,5", "fast", "1.0f", "1e"})
    EXPECT_TRUE(refuses<double>(bad)) << bad;
}

TEST(Value, BooleansAreOnlyTrueAndFalse) {
  EXPECT_TRUE(reads("true", true));
  bool value = true;
  EXPECT_TRUE(impl::read_scalar("false", value));
  EXPECT_FALSE(value);
  for (const char* bad : {"", "True", "yes", "1", "on"}) EXPECT_TRUE(refuses<bool>(bad)) << bad;
}

TEST(Value, NumbersAreWrittenWithoutLoss) {
  for (const double x : {0.1, 1.0 / 3, 1e-300, 5e-324, 1.7976931348623157e308, 110e9, -0.0,
                         std::nextafter(1.0, 2.0)}) {
    double back = 1;
    EXPECT_TRUE(impl::read_scalar(impl::write_scalar(x), back));
    EXPECT_EQ(back, x);
  }
}

TEST(Value, Intervals) {
  EXPECT_EQ(Interval().text(), "");
  EXPECT_EQ(Interval::at_least(1).text(), ">= 1");
  EXPECT_EQ(Interval::positive().text(), "> 0");
  EXPECT_EQ(Interval::at_most(2).text(), "<= 2");
  const Interval half_open{.low = 0, .high = 1, .high_open = true};
  EXPECT_EQ(half_open.text(), "in [0, 1)");
  EXPECT_TRUE(half_open.contains(0));
  EXPECT_FALSE(half_open.contains(1));
  EXPECT_FALSE(Interval::positive().contains(0));
  EXPECT_TRUE(Interval::between(0, 1).contains(1));
}

}  // namespace
}  // namespace elastic::test
