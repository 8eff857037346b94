// SPDX-License-Identifier: Apache-2.0
// Budgets are drawn with their probabilities, repeatably.
#include "elastic/budget_sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"

namespace elastic::test {
namespace {

TEST(BudgetSampler, FrequenciesFollowUnnormalisedProbabilities) {
  const std::vector<double> weights = {5, 0, 3, 2};
  std::vector<int> count(4, 0);
  constexpr int num_draws = 20000;
  for (int i = 0; i < num_draws; ++i) ++count[sample_budget(7, i / 8, i % 8, weights)];
  EXPECT_EQ(count[1], 0);
  for (std::size_t b = 0; b < weights.size(); ++b) {
    const double p = weights[b] / 10, sigma = std::sqrt(num_draws * p * (1 - p));
    EXPECT_NEAR(count[b], num_draws * p, 4 * sigma + 1e-9);
  }
}

TEST(BudgetSampler, DependsOnSeedStepAndMicroBatchOnly) {
  int same_seed = 0, other_seed = 0, other_step = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto draw = sample_budget(1, 3, i, {1, 1});
    same_seed += draw == sample_budget(1, 3, i, {2, 2});
    other_seed += draw == sample_budget(2, 3, i, {1, 1});
    other_step += draw == sample_budget(1, 4, i, {1, 1});
  }
  EXPECT_EQ(same_seed, 1000);
  EXPECT_NEAR(other_seed, 500, 80);
  EXPECT_NEAR(other_step, 500, 80);
}

TEST(BudgetSampler, NeedsAPositiveProbability) {
  EXPECT_EQ(sample_budget(1, 1, 1, {0, 0, 1, 0}), 2);
  EXPECT_THROW(sample_budget(1, 1, 1, {0, 0}), ContractError);
  EXPECT_THROW(sample_budget(1, 1, 1, {}), ContractError);
  EXPECT_THROW(sample_budget(1, 1, 1, {1, -1}), ContractError);
}

TEST(BudgetSampler, DrawsWithoutReplacement) {
  std::vector<int> count(4, 0);
  for (int i = 0; i < 1000; ++i) {
    const auto drawn = draw_budgets(7, 1, i, {5, 0, 3, 2}, 2);
    ASSERT_EQ(drawn.size(), 2u);
    EXPECT_NE(drawn[0], drawn[1]);
    EXPECT_EQ(drawn[0], static_cast<std::size_t>(sample_budget(7, 1, i, {5, 0, 3, 2})));
    for (const std::size_t budget : drawn) ++count[budget];
  }
  EXPECT_EQ(count[1], 0);
  EXPECT_GT(count[0], count[2]);
  EXPECT_GT(count[2], count[3]);
}

TEST(BudgetSampler, TakesAllBudgetsInOrderOrAllThatHaveAProbability) {
  EXPECT_EQ(draw_budgets(7, 1, 1, {1, 0, 3}, 3), (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(draw_budgets(7, 1, 1, {0, 1, 0, 0}, 3), (std::vector<std::size_t>{1}));
}

TEST(BudgetSampler, OneBudgetIsAlwaysDrawn) {
  for (index_t step = 0; step < 100; ++step) EXPECT_EQ(sample_budget(3, step, 0, {0.2}), 0);
}

}  // namespace
}  // namespace elastic::test
