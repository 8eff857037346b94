// SPDX-License-Identifier: Apache-2.0
// Large numbers as people read them.
#include "plan/units.hpp"

#include <gtest/gtest.h>

namespace elastic::test {
namespace {

TEST(Units, NumbersHaveAPrefixAndSeparators) {
  EXPECT_EQ(with_prefix(0, "B"), "0 B");
  EXPECT_EQ(with_prefix(999, "B"), "999 B");
  EXPECT_EQ(with_prefix(1000, "B"), "1.00 kB");
  EXPECT_EQ(with_prefix(12345678, "B"), "12.35 MB");
  EXPECT_EQ(with_prefix(4.5e12, "FLOP"), "4.50 TFLOP");
  EXPECT_EQ(with_prefix(1.2e22, "FLOP"), "12.00 ZFLOP");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(12310001152), "12,310,001,152");
  EXPECT_EQ(in_seconds(2), "2.00 s");
  EXPECT_EQ(in_seconds(1.234e-5), "12.34 us");
  EXPECT_EQ(in_seconds(3e-12), "0.00 ns");
}

}  // namespace
}  // namespace elastic::test
