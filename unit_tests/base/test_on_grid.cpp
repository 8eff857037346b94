// SPDX-License-Identifier: Apache-2.0
// Numbers on a grid: rounded to nearest, and their sums do not depend on the order.
#include "base/on_grid.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace elastic::test {
namespace {

TEST(OnGrid, RoundsToTheNearestMultiple) {
  EXPECT_EQ(on_grid(0.3, 2), 0.25);
  EXPECT_EQ(on_grid(0.4, 2), 0.5);
  EXPECT_EQ(on_grid(-0.4, 2), -0.5);
  EXPECT_EQ(on_grid(5.0, 2), 5.0);
  EXPECT_EQ(on_grid(0.375, 2), 0.5) << "ties to even";
  EXPECT_EQ(on_grid(0.125, 2), 0.0) << "ties to even";
  EXPECT_EQ(on_grid(on_grid(0.1)), on_grid(0.1));
  EXPECT_LE(std::abs(on_grid(0.1) - 0.1), 0x1p-31);
}

TEST(OnGrid, SpecialValuesStayWhatTheyAre) {
  EXPECT_EQ(on_grid(0.0), 0.0);
  EXPECT_TRUE(std::isnan(on_grid(std::nan(""))));
  EXPECT_TRUE(std::isinf(on_grid(HUGE_VAL)));
}

TEST(OnGrid, SumsDoNotDependOnTheOrder) {
  std::mt19937 engine(7);
  std::uniform_real_distribution<double> uniform(-1000, 1000);
  std::vector<double> raw(1000), rounded;
  for (double& x : raw) rounded.push_back(on_grid(x = uniform(engine)));
  const double expected = std::accumulate(rounded.begin(), rounded.end(), 0.0);
  bool raw_differs = false;
  const double raw_expected = std::accumulate(raw.begin(), raw.end(), 0.0);
  for (int i = 0; i < 20; ++i) {
    std::shuffle(rounded.begin(), rounded.end(), engine);
    std::shuffle(raw.begin(), raw.end(), engine);
    EXPECT_EQ(std::accumulate(rounded.begin(), rounded.end(), 0.0), expected);
    raw_differs = raw_differs || std::accumulate(raw.begin(), raw.end(), 0.0) != raw_expected;
  }
  EXPECT_TRUE(raw_differs) << "the test would not see a missing rounding";
}

}  // namespace
}  // namespace elastic::test
