// SPDX-License-Identifier: Apache-2.0
// The numbers of a step are kept apart, and their sums do not depend on how they are grouped once
// they are rounded.
#include "train/train_sums.hpp"

#include <set>

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr TrainSums::Column columns[] = {TrainSums::tokens, TrainSums::kl, TrainSums::cross_entropy,
                                         TrainSums::budget_loss, TrainSums::relative_cost};

/// All numbers of sums over two budgets.
std::vector<double> numbers(TrainSums& sums) {
  std::vector<double> all = {sums.weight(), sums.loss(), sums.teacher(), sums.failures()};
  for (std::size_t b = 0; b < 2; ++b)
    for (const auto column : columns) all.push_back(sums.of(b, column));
  return all;
}
TrainSums filled(std::uint32_t seed) {
  TrainSums sums(2);
  const auto values = random_values<double>(14, seed, -100, 100);
  std::size_t next = 0;
  sums.weight() = values[next++];
  sums.loss() = values[next++];
  sums.teacher() = values[next++];
  sums.failures() = values[next++];
  for (std::size_t b = 0; b < 2; ++b)
    for (const auto column : columns) sums.of(b, column) = values[next++];
  return sums;
}

TEST(TrainSums, EveryNumberHasAPlaceOfItsOwn) {
  TrainSums sums(2), zero(2);
  EXPECT_EQ(numbers(zero), std::vector<double>(14, 0.0));
  sums = filled(1);
  EXPECT_EQ(numbers(sums), random_values<double>(14, 1, -100, 100));
}

TEST(TrainSums, AddsNumberByNumber) {
  TrainSums a = filled(1), b = filled(2);
  const auto first = numbers(a), second = numbers(b);
  a.add(b);
  for (std::size_t i = 0; i < 14; ++i) EXPECT_EQ(numbers(a)[i], first[i] + second[i]);
  EXPECT_EQ(numbers(b), second);
}

TEST(TrainSums, RoundedNumbersAddUpInAnyGrouping) {
  std::set<std::vector<double>> exact, rough;
  for (const bool rounded : {true, false})
    for (const auto& order : {std::vector<std::uint32_t>{1, 2, 3, 4}, {4, 2, 1, 3}, {3, 4, 2, 1}}) {
      TrainSums all(2), half(2);
      for (std::size_t i = 0; i < 4; ++i) {
        TrainSums one = filled(order[i]);
        if (rounded) {
          const auto before = numbers(one);
          one.round();
          for (std::size_t n = 0; n < 13; ++n) EXPECT_NEAR(numbers(one)[n], before[n], 0x1p-31);
        }
        (i < 2 ? all : half).add(one);
      }
      all.add(half);
      (rounded ? exact : rough).insert(numbers(all));
    }
  EXPECT_EQ(exact.size(), 1u);
  EXPECT_GT(rough.size(), 1u) << "rounding is not needed";
}

TEST(TrainSums, OneRankHasTheSumOverItself) {
  TrainSums sums = filled(3);
  const auto before = numbers(sums);
  sums.reduce(Communicator::self());
  EXPECT_EQ(numbers(sums), before);
}

TEST(TrainSums, BudgetsAddTheirWeightedLosses) {
  RunConfig config;
  config.distill = {.distillation_weight = 0.7, .cross_entropy_weight = 0.3};
  config.elastic.weight = 0.5;
  TrainSums sums(2);
  sums.loss() = 1000;
  sums.teacher() = 7;
  for (std::size_t b = 0; b < 2; ++b) {
    const double scale = b == 0 ? 1 : 10;
    sums.of(b, TrainSums::kl) = scale * 1;
    sums.of(b, TrainSums::cross_entropy) = scale * 2;
    sums.of(b, TrainSums::budget_loss) = scale * 4;
  }
  sums.add_budgets_to_loss(config, 0.4);
  EXPECT_DOUBLE_EQ(sums.loss(), 1000 + 0.4 * 7 + 11 * (0.7 * 1 + 0.3 * 2 + 0.5 * 4));
}

TEST(TrainSums, MeansOverTheTokensOfEachBudget) {
  TrainSums sums(2);
  EXPECT_EQ(sums.per_token(), 0);
  sums.weight() = 8;
  EXPECT_EQ(sums.per_token(), 0.125);
  sums.of(1, TrainSums::tokens) = 8;
  sums.of(1, TrainSums::kl) = 4;
  sums.of(1, TrainSums::cross_entropy) = 24;
  sums.of(1, TrainSums::budget_loss) = 2;
  sums.of(1, TrainSums::relative_cost) = 6;
  const auto means = sums.budget_means({.distillation_weight = 1, .cross_entropy_weight = 0});
  ASSERT_EQ(means.size(), 2u);
  for (const double x : {means[0].kl, means[0].budget_loss, means[0].relative_cost})
    EXPECT_TRUE(std::isnan(x)) << "not drawn";
  EXPECT_EQ(means[1].kl, 0.5);
  EXPECT_TRUE(std::isnan(means[1].cross_entropy)) << "without weight";
  EXPECT_EQ(means[1].budget_loss, 0.25);
  EXPECT_EQ(means[1].relative_cost, 0.75);
}

}  // namespace
}  // namespace elastic::test
