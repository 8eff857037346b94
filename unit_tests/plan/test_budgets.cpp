// SPDX-License-Identifier: Apache-2.0
// Which budgets an elastic space meets, with which widths, and what is said of those it does not.
#include "plan/budgets.hpp"

#include <gmock/gmock.h>

#include "elastic/family.hpp"
#include "plan/run_plan.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(Budgets, HomogeneousWidthsNearABudget) {
  const ResolvedDeck deck = small_deck();
  const RunConfig& config = deck.config;
  const ModelShape shape = parent_shape(config);
  const ElasticSpace space = elastic_space(config, shape);
  const PlanBudgets plan = plan_budgets(config, shape, space);
  EXPECT_EQ(plan.decisions, 7u);  // hidden, heads, channels, query heads, depth, two MLPs
  EXPECT_EQ(plan.homogeneous_combinations, 4 * 2 * 2 * 2 * 4 * 3);
  EXPECT_EQ(plan.combinations, 4 * plan.homogeneous_combinations);
  ASSERT_EQ(plan.ranges.size(), 1u);
  const double full_cost = plan.ranges[0].full;
  EXPECT_EQ(full_cost, parameter_count(shape, expected_widths(full_spec(shape))));
  ASSERT_EQ(plan.budgets.size(), 3u);
  EXPECT_TRUE(plan.budgets[0].homogeneous.at(0).same_widths(full_spec(shape)));
  for (const auto& budget : plan.budgets) {
    EXPECT_LE(budget.homogeneous.size(), 4u);
    double last = 0;
    for (const auto& spec : budget.homogeneous) {
      EXPECT_EQ(spec.layers[1].width, spec.layers[4].width);
      const double relative =
          parameter_count(shape, expected_widths(spec)) / full_cost / budget.budget;
      EXPECT_LE(std::abs(relative - 1), 0.01);
      EXPECT_GE(std::abs(relative - 1), last);
      last = std::abs(relative - 1);
    }
    const double met = parameter_count(shape, expected_widths(budget.spec)) / full_cost;
    EXPECT_NEAR(met, budget.budget, config.elastic.loss.tolerance * budget.budget);
  }
  // The extremes, against all homogeneous and thus all choices.
  auto least = full_spec(shape);
  least.hidden_size = 12;
  least.layers = {{2, 6, true}, {12, 1, true}, {2, 8, true}, {2, 6, false}, {12, 1, false}};
  EXPECT_EQ(plan.ranges[0].least, parameter_count(shape, expected_widths(least)));
}

TEST(Budgets, PerLayerWidthsReachWhatHomogeneousCannot) {
  // Two MLPs of 48 or 12: budgets between both wide and both narrow need one of each.
  const std::vector<std::string> overrides = {
      "elastic/hidden_size=24",   "elastic/mamba_num_heads=4",
      "elastic/mamba_head_dim=8", "elastic/num_attention_heads=4",
      "elastic/drop_layers=0",    "elastic/ffn_hidden_size=48,12",
      "elastic/tolerance=0.005",  "elastic/budget_names=one,two"};
  const auto shape = parent_shape(small_deck().config);
  auto mixed = full_spec(shape);
  mixed.layers[1].width = 12;
  const double part = parameter_count(shape, expected_widths(mixed)) /
                      parameter_count(shape, expected_widths(full_spec(shape)));
  auto reach = overrides;
  reach.push_back(fmt::format("elastic/budgets=1,{}", part));
  const ResolvedDeck deck = small_deck(reach);
  const PlanBudgets plan = plan_budgets(deck.config, shape, elastic_space(deck.config, shape));
  EXPECT_TRUE(plan.budgets[1].homogeneous.empty());
  EXPECT_NE(plan.budgets[1].spec.layers[1].width, plan.budgets[1].spec.layers[4].width);
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("no homogeneous widths within 1%"));

  auto rigid = reach;
  rigid.push_back("elastic/per_layer=");
  const ResolvedDeck without = small_deck(rigid);
  const auto message = message_of<InputError>([&] { run_plan(without, 1); });
  contains(message, "budget two cannot be met");
  contains(message, "nearest reachable budgets are");
}

TEST(Budgets, FixedWidthsAreThoseThatWillBeTrained) {
  const ResolvedDeck deck =
      small_deck({"router/widths=homogeneous", "elastic/per_layer=", "evaluate/extra_budgets=0.6"});
  const auto shape = parent_shape(deck.config);
  const auto space = elastic_space(deck.config, shape);
  const PlanBudgets plan = plan_budgets(deck.config, shape, space);
  ASSERT_EQ(plan.budgets.size(), 4u);
  for (const auto& budget : plan.budgets) {
    const auto spec = homogeneous_submodel(shape, space, budget.budget, {});
    EXPECT_EQ(budget.spec.name, budget.name);
    EXPECT_TRUE(budget.spec.same_widths(spec)) << budget.name;
    ASSERT_EQ(budget.homogeneous.size(), 1u) << "others are not trained";
    EXPECT_TRUE(budget.homogeneous[0].same_widths(spec)) << budget.name;
  }
  EXPECT_EQ(run_plan(deck, 2).find("at first"), std::string::npos) << "the cost never changes";
  EXPECT_THAT(run_plan(small_deck(), 2), HasSubstr("at first"));
  const auto message = message_of<InputError>([] {
    run_plan(small_deck(
                 {"router/widths=homogeneous", "elastic/per_layer=", "elastic/budgets=1,0.5,0.01"}),
             1);
  });
  contains(message, "budget small cannot be met: no homogeneous widths cost 0.01");
}

TEST(Budgets, EveryKindOfCostIsMetAndPrinted) {
  const ResolvedDeck deck = small_deck({"elastic/budget_kind=parameters,memory,flops",
                                        "elastic/memory_seq_length=64", "elastic/kv_cache_bytes=1",
                                        "elastic/flops_seq_length=32", "elastic/tolerance=0.1"});
  const auto shape = parent_shape(deck.config);
  const auto& costs = deck.config.elastic.loss.costs;
  ASSERT_EQ(costs.size(), 3u);
  EXPECT_EQ(costs[1].seq_length, 64);
  EXPECT_EQ(costs[1].kv_bytes, 1);
  EXPECT_EQ(costs[2].seq_length, 32);
  const PlanBudgets plan = plan_budgets(deck.config, shape, elastic_space(deck.config, shape));
  ASSERT_EQ(plan.ranges.size(), 3u);
  for (const auto& budget : plan.budgets)
    for (const auto& c : costs)
      EXPECT_NEAR(relative_cost(shape, budget.spec, c) / budget.budget, 1, 0.1 + 1e-9)
          << budget.name << " " << budget_kind_name(c.kind);
  const auto text = run_plan(deck, 1);
  for (const char* part : {"parameters from", "bytes of inference memory from",
                           "FLOPs per token from", "1.0000 1.0000 1.0000"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(Budgets, UnreachableBudgetsAreRefused) {
  const auto message =
      message_of<InputError>([] { run_plan(small_deck({"elastic/budgets=1,0.5,0.01"}), 1); });
  contains(message, "budget small cannot be met");
  EXPECT_THROW(run_plan(small_deck({"evaluate/extra_budgets=0.01"}), 1), InputError);
  // Without an elastic phase no budget has to be met.
  EXPECT_NO_THROW(run_plan(small_deck({"elastic/budgets=1,0.5,0.01", "job/phases=pretrain"}), 1));
}

}  // namespace
}  // namespace elastic::test
