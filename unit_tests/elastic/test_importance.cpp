// SPDX-License-Identifier: Apache-2.0
// Orders that serve comparisons stay inside groups, differ where they should, and depend on the
// seed alone.
#include "elastic/importance.hpp"

#include <gmock/gmock.h>

#include <set>

#include "elastic/ranking.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

ImportanceScores measured(const ModelShape& shape) {
  ImportanceScores scores;
  scores.hidden = random_values<double>(shape.hidden_size, 1, 0, 1);
  std::uint32_t seed = 2;
  for (const auto& layer : shape.layers)
    scores.squares.push_back(random_values<double>(layer.inner(), seed++, 0, 1));
  return scores;
}
Ranking rank(const ModelShape& shape, RankOrder order, std::uint32_t seed = 1) {
  return rank_parent(shape, scores_in_order(order, shape, measured(shape), seed), 2);
}
/// The members of each group, the last first.
std::vector<index_t> backwards(const std::vector<index_t>& units, index_t groups) {
  std::vector<index_t> result(units.size());
  const auto places = static_cast<index_t>(units.size()) / groups;
  for (index_t place = 0; place < places; ++place)
    for (index_t g = 0; g < groups; ++g)
      result[place * groups + g] = units[(places - 1 - place) * groups + g];
  return result;
}

TEST(Importance, ReversedPutsTheBestLast) {
  const auto shape = small_shape("M*-");
  auto scores = measured(shape);
  const auto reversed =
                 rank_parent(shape, scores_in_order(RankOrder::reversed, shape, scores, 1), 1000),
             ranked = rank_parent(shape, scores, 1000);
  EXPECT_EQ(reversed.hidden, backwards(ranked.hidden, 1));
  EXPECT_EQ(reversed.channels[0], backwards(ranked.channels[0], 1));
  for (index_t l = 0; l < 3; ++l)
    EXPECT_EQ(reversed.units[l], backwards(ranked.units[l], shape.layers[l].num_groups));
}

TEST(Importance, IdentityLeavesEverythingWhereItIs) {
  const auto shape = small_shape();
  const auto ranking = rank(shape, RankOrder::identity), none = identity_ranking(shape);
  EXPECT_EQ(ranking.hidden, none.hidden);
  EXPECT_EQ(ranking.units, none.units);
  EXPECT_EQ(ranking.channels, none.channels);
}

TEST(Importance, RandomOrdersAreAFunctionOfTheSeedAlone) {
  const auto shape = small_shape("M*-M");
  const auto ranking = rank(shape, RankOrder::random, 5);
  // What was measured, if anything, does not matter.
  const auto again = rank_parent(shape, scores_in_order(RankOrder::random, shape, {}, 5), 2);
  EXPECT_EQ(again.hidden, ranking.hidden);
  EXPECT_EQ(again.units, ranking.units);
  EXPECT_EQ(again.channels, ranking.channels);
  const auto other = rank(shape, RankOrder::random, 6);
  EXPECT_NE(other.hidden, ranking.hidden);
  EXPECT_NE(other.units, ranking.units);
  EXPECT_NE(ranking.units[0], ranking.units[3]) << "layers of one shape have orders of their own";
  for (index_t l = 0; l < 4; ++l)
    for (index_t u = 0; u < shape.layers[l].width; ++u)
      EXPECT_EQ(ranking.units[l][u] % shape.layers[l].num_groups, u % shape.layers[l].num_groups)
          << "a unit left its group";
}

TEST(Importance, RandomOrdersAreEven) {
  const auto shape = make_shape("-", 3, {}, {}, {LayerKind::mlp, 2});
  std::vector<int> first(3, 0);
  for (std::uint32_t seed = 0; seed < 3000; ++seed)
    ++first[static_cast<std::size_t>(
        rank_parent(shape, scores_in_order(RankOrder::random, shape, {}, seed), 1).hidden[0])];
  for (const int count : first) EXPECT_NEAR(count, 1000, 120);
}

TEST(Importance, LeastImportantLayersComeFirstAndTheRestFollowsAsItStands) {
  const std::vector<double> importance = {3, 1, 4, 1, 5};
  EXPECT_THAT(least_important(importance, 0), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(least_important(importance, 2), ElementsAre(1, 3, 0, 2, 4));
  EXPECT_THAT(least_important(importance, 3), ElementsAre(1, 3, 0, 2, 4));
  EXPECT_THAT(least_important(importance, 5), ElementsAre(1, 3, 0, 2, 4));
  EXPECT_THAT(least_important({1, 9, 8}, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(least_important({9, 8, 1}, 1), ElementsAre(2, 0, 1));
}

TEST(Importance, OrdersOfLayers) {
  const std::vector<double> importance = {3, 1, 4, 2};
  const auto drops = [&](RankOrder order, std::uint32_t seed = 1) {
    return least_important(layers_in_order(order, importance, seed), 4);
  };
  EXPECT_THAT(drops(RankOrder::importance), ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(drops(RankOrder::reversed), ElementsAre(2, 0, 3, 1));
  EXPECT_THAT(drops(RankOrder::identity), ElementsAre(3, 2, 1, 0)) << "the last go first";
  EXPECT_EQ(drops(RankOrder::random), drops(RankOrder::random));
  std::set<std::vector<index_t>> orders;
  for (std::uint32_t seed = 0; seed < 20; ++seed) orders.insert(drops(RankOrder::random, seed));
  EXPECT_GT(orders.size(), 8u);
}

TEST(Importance, MeasuresInWords) {
  EXPECT_EQ(describe(ImportanceMeasure{}), "mean/L2 of outputs");
  EXPECT_EQ(describe(ImportanceMeasure{Aggregation::sum, UnitActivations::projections}),
            "sums of projections");
}

}  // namespace
}  // namespace elastic::test
