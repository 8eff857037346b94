// SPDX-License-Identifier: Apache-2.0
// Submodels out of a space: valid, all of a small grid, and spread over sizes and widths.
#include "verbs/space_samples.hpp"

#include <gtest/gtest.h>

#include <set>

#include "elastic/cost_model.hpp"
#include "elastic/family.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

TEST(SpaceSamples, GridIsAllOrEvenlySpaced) {
  const ModelShape shape = small_shape();
  const ElasticSpace space = small_space(true);
  const auto decisions = list_decisions(shape, homogeneous_space(space));
  std::set<std::string> expected, found;
  std::vector<index_t> choice(decisions.size(), 0);
  do {
    expected.insert(
        describe(shape, spec_of_choices(shape, homogeneous_space(space), decisions, choice)));
  } while (next_choice(decisions, choice));
  const auto all = grid_submodels(shape, space, 100000);
  for (const auto& spec : all) found.insert(describe(shape, spec));
  EXPECT_EQ(found, expected);
  const auto few = grid_submodels(shape, space, 7);
  ASSERT_EQ(few.size(), 7u);
  EXPECT_TRUE(few.front().same_widths(all.front()));
  EXPECT_TRUE(few.back().same_widths(all.back()));
  for (const auto& spec : few) EXPECT_NO_THROW(check_spec(shape, spec));
}

TEST(SpaceSamples, RandomOnesReachSmallAndLargeAndDifferPerLayer) {
  const ModelShape shape = small_shape();
  const ElasticSpace space = small_space(true);
  const auto decisions = list_decisions(shape, space);
  const RandomKey key{7, RandomPurpose::test, 1};
  double least = 1, most = 0;
  bool layers_differ = false;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const auto spec = random_submodel(shape, space, decisions, key, i);
    EXPECT_NO_THROW(check_spec(shape, spec));
    EXPECT_TRUE(spec.same_widths(random_submodel(shape, space, decisions, key, i)));
    const double part = relative_cost(shape, spec, {});
    least = std::min(least, part);
    most = std::max(most, part);
    layers_differ |= spec.layers[0].width != spec.layers[3].width;
  }
  EXPECT_LT(least, 0.3);
  EXPECT_GT(most, 0.9);
  EXPECT_TRUE(layers_differ);
}

}  // namespace
}  // namespace elastic::test
