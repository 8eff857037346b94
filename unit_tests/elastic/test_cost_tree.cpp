// SPDX-License-Identifier: Apache-2.0
// Both questions to the tree against a scan over all points.
#include "elastic/cost_tree.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<CostPoint> random_points(Draw& draw, std::size_t count) {
  std::vector<CostPoint> points(count);
  for (std::size_t i = 0; i < count; ++i)
    points[i] = {
        {draw.uniform(), draw.uniform(), draw.uniform(), draw.uniform()}, -draw.uniform(), i};
  return points;
}
CostBox random_box(Draw& draw) {
  CostBox box;
  for (std::size_t k = 0; k < max_costs; ++k) {
    box.low[k] = draw.uniform() - 0.3;
    box.high[k] = box.low[k] + 0.9 * draw.uniform();
  }
  return box;
}

TEST(CostTree, LikeliestPointOfABox) {
  int found = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Draw draw(seed);
    const auto points = random_points(draw, static_cast<std::size_t>(draw.between(1, 40)));
    const CostTree tree(points);
    const auto box = random_box(draw);
    const double than = seed % 2 ? -infinity : -draw.uniform();
    const CostPoint* best = nullptr;
    for (const auto& p : points)
      if (box.contains(p.costs) && p.log_pi > than && (!best || p.log_pi > best->log_pi)) best = &p;
    const auto* actual = tree.likeliest(box, than);
    ASSERT_EQ(actual != nullptr, best != nullptr) << seed;
    if (!best) continue;
    ++found;
    EXPECT_EQ(actual->label, best->label);
  }
  EXPECT_GT(found, 30);
}

TEST(CostTree, NearestPointOfABox) {
  int found = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Draw draw(1000 + seed);
    const auto points = random_points(draw, static_cast<std::size_t>(draw.between(1, 40)));
    const CostTree tree(points);
    CostBox box;
    if (seed % 3 != 0) box.high[0] = draw.uniform();
    const CostVector target = {draw.uniform(), draw.uniform(), draw.uniform(), draw.uniform()},
                     unit = {1, 2, 0.5, 4};
    const auto distance = [&](const CostPoint& p) {
      double d = 0;
      for (std::size_t k = 0; k < max_costs; ++k)
        d = std::max(d, std::abs(p.costs[k] - target[k]) / unit[k]);
      return d;
    };
    const double than = seed % 2 ? infinity : draw.uniform();
    const CostPoint* best = nullptr;
    for (const auto& p : points)
      if (box.contains(p.costs) && distance(p) < than && (!best || distance(p) < distance(*best)))
        best = &p;
    const auto* actual = tree.nearest(box, target, unit, than);
    ASSERT_EQ(actual != nullptr, best != nullptr) << seed;
    if (!best) continue;
    ++found;
    EXPECT_EQ(actual->label, best->label);
  }
  EXPECT_GT(found, 100);
}

TEST(CostTree, EdgesBelongToABox) {
  const CostTree tree({{{1, 2, 3, 0}, -1, 7}});
  EXPECT_EQ(tree.likeliest({{1, 2, 3}, {1, 2, 3}}, -infinity)->label, 7u);
  EXPECT_EQ(tree.likeliest({{1.1, 2, 3}, {2, 2, 3}}, -infinity), nullptr);
  EXPECT_EQ(tree.likeliest({}, -1), nullptr) << "not likelier";
}

TEST(CostTree, NeedsAPoint) { EXPECT_THROW(CostTree({}), ContractError); }

}  // namespace
}  // namespace elastic::test
