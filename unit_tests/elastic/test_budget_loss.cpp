// SPDX-License-Identifier: Apache-2.0
// Expected widths, the dead zone, the identity term, and gradients against finite differences.
#include "elastic/budget_loss.hpp"

#include <gmock/gmock.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

Probabilities one_hot(const std::vector<Decision>& decisions, const std::vector<index_t>& choice) {
  Probabilities pi;
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    pi.emplace_back(decisions[d].widths.size(), 0.0);
    pi.back()[choice[d]] = 1;
  }
  return pi;
}

TEST(BudgetLoss, ExpectedWidthsOfAOneHotAreTheSubmodel) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    auto [draw, shape, space, decisions] = RandomCase(seed);
    const auto choice = random_choices(draw, decisions);
    const auto spec = spec_of_choices(shape, space, decisions, choice);
    EXPECT_EQ(parameter_count(shape,
                              expected_widths(shape, space, decisions, one_hot(decisions, choice))),
              parameter_count(shape, expected_widths(spec)));
  }
}

TEST(BudgetLoss, ExpectationsOfMixtures) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  auto pi = one_hot(decisions, {0, 0, 0, 0, 0, 0});
  pi[0] = {0.5, 0.5, 0};
  pi[4] = {0.2, 0, 0.8};
  pi[5] = {0.5, 0.2, 0.3};  // layers 3, 1, 2 in this order
  const auto widths = expected_widths(shape, space, decisions, pi);
  EXPECT_DOUBLE_EQ(widths.hidden, 10.5);
  EXPECT_DOUBLE_EQ(widths.layers[1].width, 3.6);
  EXPECT_DOUBLE_EQ(widths.layers[4].width, 3.6);
  const std::vector<double> keep = {1, 0.7, 0.7, 0.5, 1};
  for (std::size_t l = 0; l < keep.size(); ++l) EXPECT_DOUBLE_EQ(widths.layers[l].keep, keep[l]);
}

TEST(BudgetLoss, DeadZoneOfSubBudgets) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  const auto full = one_hot(decisions, {0, 0, 0, 0, 0, 0});
  const auto inside = budget_loss(shape, space, decisions, full, 0.96, {});
  EXPECT_EQ(inside.value, 0);
  EXPECT_EQ(inside.relative_cost, 1);
  for (const auto& list : inside.gradient) EXPECT_THAT(list, testing::Each(0.0));
  const auto outside = budget_loss(shape, space, decisions, full, 0.5, {});
  EXPECT_DOUBLE_EQ(outside.value, 1);
  EXPECT_GT(outside.gradient[0][0], outside.gradient[0][2]) << "narrower is cheaper";
  BudgetLossConfig strict;
  strict.tolerance = 0;
  EXPECT_NEAR(budget_loss(shape, space, decisions, full, 0.96, strict).value, 1 / 0.96 - 1, 1e-12);
}

TEST(BudgetLoss, FullBudgetAsksForTheIdentity) {
  const auto shape = small_shape();
  const auto space = small_space(true);
  const auto decisions = list_decisions(shape, space);
  auto pi = one_hot(decisions, std::vector<index_t>(decisions.size(), 0));
  const auto rest = budget_loss(shape, space, decisions, pi, 1, {});
  EXPECT_EQ(rest.value, 0);
  for (const auto& list : rest.gradient) EXPECT_THAT(list, testing::Each(0.0));
  pi[6] = {0.5, 0, 0.5};  // ffn of layer 1; the axis has 2 x 3 entries
  BudgetLossConfig none;
  none.full_weight = 0;
  EXPECT_NEAR(budget_loss(shape, space, decisions, pi, 1, {}).value -
                  budget_loss(shape, space, decisions, pi, 1, none).value,
              10 * (0.25 + 0.25) / 6, 1e-12);
}

TEST(BudgetLoss, FullBudgetHasNoDeadZone) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  auto pi = one_hot(decisions, {0, 0, 0, 0, 0, 0});
  pi[0] = {0.95, 0.05, 0};
  BudgetLossConfig config;
  config.full_weight = 0;
  const auto loss = budget_loss(shape, space, decisions, pi, 1, config);
  ASSERT_GT(loss.relative_cost, 1 - config.tolerance);
  EXPECT_GT(loss.value, 0);
  EXPECT_DOUBLE_EQ(loss.value, 1 - loss.relative_cost);
  EXPECT_LT(loss.gradient[0][0], loss.gradient[0][1]) << "towards the full width";
}

TEST(BudgetLoss, GradientAgainstFiniteDifferences) {
  for (const double budget : {1.0, 0.9, 0.2})
    for (const auto kind : {BudgetKind::parameters, BudgetKind::memory, BudgetKind::flops})
      for (const bool per_layer : {false, true}) {
        const auto shape = small_shape();
        const auto space = small_space(per_layer);
        const auto decisions = list_decisions(shape, space);
        Draw draw(8);
        auto pi = random_probabilities(draw, decisions);
        const CostConfig cost{kind, 2, 30, 2, 4, 8};
        const BudgetLossConfig config{per_layer ? Costs{cost} : Costs{CostConfig{}, cost}, 0.05,
                                      10};
        const auto loss = budget_loss(shape, space, decisions, pi, budget, config);
        ASSERT_GT(loss.value, 0);
        for (std::size_t d = 0; d < pi.size(); ++d)
          for (std::size_t i = 0; i < pi[d].size(); ++i) {
            const double p = pi[d][i], step = 1e-5;
            pi[d][i] = p + step;
            const double above = budget_loss(shape, space, decisions, pi, budget, config).value;
            pi[d][i] = p - step;
            const double below = budget_loss(shape, space, decisions, pi, budget, config).value;
            pi[d][i] = p;
            EXPECT_NEAR((above - below) / (2 * step), loss.gradient[d][i], 1e-8);
          }
      }
}

TEST(BudgetLoss, CostsAddUpAndEachHasItsDeadZone) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  Draw draw(23);
  const auto pi = random_probabilities(draw, decisions);
  const CostConfig parameters, flops{.kind = BudgetKind::flops, .seq_length = 40};
  const auto at = [&](double budget, const Costs& costs) {
    return budget_loss(shape, space, decisions, pi, budget, {costs, 0.05, 10});
  };
  const double p = at(0.5, {parameters}).relative_cost, f = at(0.5, {flops}).relative_cost;
  ASSERT_GT(std::abs(p / f - 1), 0.06);
  const auto one = at(0.3, {parameters}), other = at(0.3, {flops}),
             both = at(0.3, {parameters, flops});
  EXPECT_DOUBLE_EQ(both.value, one.value + other.value);
  EXPECT_EQ(both.relative_cost, p) << "that of the first";
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i)
      EXPECT_NEAR(both.gradient[d][i], one.gradient[d][i] + other.gradient[d][i], 1e-12);
  EXPECT_DOUBLE_EQ(at(p, {parameters, flops}).value, at(p, {flops}).value) << "one is met";
}

TEST(BudgetLoss, BudgetIsAFraction) {
  const auto shape = small_shape();
  const auto space = rigid_space(shape);
  EXPECT_THROW(budget_loss(shape, space, {}, {}, 0, {}), ContractError);
  EXPECT_THROW(budget_loss(shape, space, {}, {}, 1.5, {}), ContractError);
}

TEST(BudgetLoss, GradientVanishesInsideTheDeadZoneOnly) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  Draw draw(21);
  const auto pi = random_probabilities(draw, decisions);
  const double cost = budget_loss(shape, space, decisions, pi, 0.5, {}).relative_cost;
  const auto size = [](const BudgetLoss& loss) {
    double sum = 0;
    for (const auto& list : loss.gradient)
      for (const double g : list) sum += std::abs(g);
    return sum;
  };
  for (const double miss : {-0.2, -0.06, -0.04, 0.0, 0.04, 0.06, 0.2}) {
    const auto loss = budget_loss(shape, space, decisions, pi, cost / (1 + miss), {});
    EXPECT_EQ(loss.value > 0, std::abs(miss) > 0.05) << miss;
    EXPECT_EQ(size(loss) > 0, std::abs(miss) > 0.05) << miss;
    if (std::abs(miss) > 0.05) {
      EXPECT_NEAR(loss.value, std::abs(miss), 1e-12);
    }
  }
}

TEST(BudgetLoss, TooDearAsksForLessAndTooCheapForMore) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  Draw draw(22);
  const auto pi = random_probabilities(draw, decisions);
  const double cost = budget_loss(shape, space, decisions, pi, 0.5, {}).relative_cost;
  const auto dear = budget_loss(shape, space, decisions, pi, cost / 2, {}),
             cheap = budget_loss(shape, space, decisions, pi, std::min(0.99, 1.9 * cost), {});
  for (std::size_t d = 0; d < decisions.size(); ++d)
    for (std::size_t i = 1; i < pi[d].size(); ++i) {
      EXPECT_GT(dear.gradient[d][0], dear.gradient[d][i]) << axis_name(decisions[d].axis);
      if (cheap.value > 0) {
        EXPECT_LT(cheap.gradient[d][0], cheap.gradient[d][i]) << axis_name(decisions[d].axis);
      }
    }
}

TEST(BudgetLoss, NothingElasticCostsTheParent) {
  const auto shape = small_shape();
  const auto loss = budget_loss(shape, rigid_space(shape), {}, {}, 1, {});
  EXPECT_EQ(loss.relative_cost, 1);
  EXPECT_EQ(loss.value, 0);
  EXPECT_TRUE(loss.gradient.empty());
}

}  // namespace
}  // namespace elastic::test
