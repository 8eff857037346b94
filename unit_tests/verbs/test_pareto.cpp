// SPDX-License-Identifier: Apache-2.0
// The front is what a comparison of all pairs leaves.
#include "verbs/pareto.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

TEST(Pareto, Dominates) {
  EXPECT_TRUE(dominates({1, 2}, {1, 3}));
  EXPECT_FALSE(dominates({1, 2}, {1, 2}));
  EXPECT_FALSE(dominates({1, 3}, {2, 2}));
}

TEST(Pareto, FrontAgainstAllPairs) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Draw draw(seed);
    const auto goals = static_cast<std::size_t>(draw.between(1, 4));
    std::vector<std::vector<double>> points;
    for (index_t i = draw.between(0, 60); i > 0; --i) {
      auto& point = points.emplace_back();
      // Few values, so that many are equal in some goal, or in all.
      for (std::size_t k = 0; k < goals; ++k)
        point.push_back(static_cast<double>(draw.between(0, 6)));
    }
    const auto front = pareto_front(points);
    ASSERT_EQ(front.size(), points.size());
    for (std::size_t i = 0; i < points.size(); ++i)
      EXPECT_EQ(front[i], std::none_of(points.begin(), points.end(),
                                       [&](const auto& other) {
                                         bool nowhere_worse = true, somewhere_better = false;
                                         for (std::size_t k = 0; k < goals; ++k) {
                                           nowhere_worse &= other[k] <= points[i][k];
                                           somewhere_better |= other[k] < points[i][k];
                                         }
                                         return nowhere_worse && somewhere_better;
                                       }))
          << "seed " << seed << " point " << i;
  }
}

}  // namespace
}  // namespace elastic::test
