// SPDX-License-Identifier: Apache-2.0
// Regions nest by path, and sum calls, seconds and FLOPs.
#include "base/region.hpp"

#include <gtest/gtest.h>

namespace elastic::test {
namespace {

TEST(Region, NestsAndSums) {
  Region::reset();
  for (int i = 0; i < 3; ++i) {
    Region step("step");
    add_flops(1);
    {
      Region forward("forward");
      add_flops(10);
      const double start = wall_seconds();
      while (wall_seconds() < start + 1e-3) {
      }
    }
    Region backward("backward");
    add_flops(100);
  }
  const auto& totals = Region::totals();
  ASSERT_EQ(totals.size(), 3u);
  EXPECT_EQ(totals.at("step").calls, 3);
  EXPECT_EQ(totals.at("step").flops, 333);
  EXPECT_EQ(totals.at("step/forward").flops, 30);
  EXPECT_EQ(totals.at("step/backward").flops, 300);
  EXPECT_GE(totals.at("step/forward").seconds, 3e-3);
  EXPECT_GE(totals.at("step").seconds, totals.at("step/forward").seconds);
  Region::reset();
  EXPECT_TRUE(Region::totals().empty());
}

TEST(Region, FlopsAreCountedOutsideRegionsToo) {
  const double before = counted_flops();
  add_flops(5);
  EXPECT_EQ(counted_flops(), before + 5);
}

}  // namespace
}  // namespace elastic::test
