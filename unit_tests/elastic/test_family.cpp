// SPDX-License-Identifier: Apache-2.0
// Families of submodels: nested where that meets the budgets, and what homogeneous widths are.
#include "elastic/family.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

struct Case {
  ModelShape shape = small_shape();
  ElasticSpace space = small_space(true);
  std::uint64_t seed = 0;
  LogitsOf logits = [this](double budget) {
    Draw draw(seed * 1000 + static_cast<std::uint64_t>(100 * budget));
    Probabilities z;
    for (const auto& d : list_decisions(shape, space)) {
      auto& list = z.emplace_back();
      for (std::size_t i = 0; i < d.widths.size(); ++i) list.push_back(2 * draw.uniform());
    }
    return z;
  };
  std::vector<SubmodelSpec> family(const std::vector<double>& trained,
                                   const std::vector<double>& extra = {}) const {
    return choose_family(shape, space, logits, trained, extra, {});
  }
};

TEST(Family, IsNestedAlthoughEveryBudgetPrefersOtherWidths) {
  int unlike_alone = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Case c;
    c.seed = seed;
    const auto family = c.family({1, 0.75, 0.5});
    EXPECT_THAT(nesting_gaps(c.shape, family), testing::IsEmpty()) << seed;
    EXPECT_TRUE(family[0].same_widths(full_spec(c.shape)));
    for (const auto& spec : family) EXPECT_TRUE(meets_budget(c.shape, spec, spec.budget, {}));
    unlike_alone +=
        !family[2].same_widths(choose_submodel(c.shape, c.space, c.logits(0.5), 0.5, {}));
  }
  EXPECT_GT(unlike_alone, 5) << "alone, the smallest would not be nested";
}

TEST(Family, ExtraBudgetsLieBetweenAndLeaveTheTrainedOnes) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Case c;
    c.seed = seed;
    const auto trained = c.family({1, 0.75, 0.5}), all = c.family({1, 0.75, 0.5}, {0.6, 0.4, 0.65});
    ASSERT_EQ(all.size(), 6u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(all[i].same_widths(trained[i]));
    EXPECT_EQ(all[3].budget, 0.6);
    EXPECT_EQ(all[5].name, "0.65");
    EXPECT_TRUE(is_nested(all[3], all[1]));
    EXPECT_TRUE(is_nested(all[5], all[1]));
    // Below the smallest trained one there is not always a nested one.
    EXPECT_EQ(
        is_nested(all[4], all[2]),
        try_submodel(c.shape, c.space, c.logits(0.4), 0.4, {}, {&all[2], nullptr}).has_value());
    const auto one_more = choose_member(c.shape, c.space, c.logits(0.6), 0.6, trained, {});
    EXPECT_TRUE(is_nested(one_more, trained[1]));
  }
}

TEST(Family, WhereNothingNestedFitsTheGapIsNamed) {
  // 0.9 and 0.7 are met by one axis each, and only by that.
  Case c;
  c.shape = small_shape("*-");
  c.shape.vocab_size = 2;
  c.space = rigid_space(c.shape);
  c.space.attention_heads.widths = {4, 2};
  c.space.ffn.widths = {10, 3};
  const auto part = [&](index_t heads, index_t neurons) {
    auto spec = full_spec(c.shape);
    spec.layers[0].width = heads;
    spec.layers[1].width = neurons;
    return parameter_count(c.shape, spec) / parameter_count(c.shape);
  };
  const double less_heads = part(2, 10), less_neurons = part(4, 3), tolerance = 0.01;
  ASSERT_GT(std::abs(less_heads / less_neurons - 1), 2 * tolerance);
  const auto larger = std::max(less_heads, less_neurons),
             smaller = std::min(less_heads, less_neurons);
  const auto family =
      choose_family(c.shape, c.space, c.logits, {1, larger, smaller}, {}, {1, tolerance});
  const auto gaps = nesting_gaps(c.shape, family);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_THAT(gaps[0], testing::HasSubstr("is not part of"));
  EXPECT_THROW(choose_family(c.shape, c.space, c.logits, {1, 0.1}, {}, {1, tolerance}), InputError);
}

TEST(Family, HomogeneousWidthsScaleEveryAxisAlike) {
  const auto shape = nemotron_12b();
  auto space = rigid_space(shape);
  space.hidden.widths = {5120, 4608, 4096, 3584, 3072};
  space.mamba_heads = {{128, 112, 96, 80, 64}, true};
  space.ffn = {{20480, 17920, 15360, 12800, 10240}, true};
  space.depth.widths = {0, 2, 6};
  for (index_t l = 61; l >= 0; --l) space.drop_order.push_back(l);
  const ChoiceRules rules{1, 0.02};
  const auto spec = homogeneous_submodel(shape, space, 0.5, rules);
  EXPECT_TRUE(meets_budget(shape, spec, 0.5, rules));
  EXPECT_EQ(spec.name, "0.5");
  for (const auto& layer : spec.layers) EXPECT_TRUE(layer.keep) << "width before depth";
  // Against all others that fit and keep every layer.
  const auto alike = homogeneous_space(space);
  const auto decisions = list_decisions(shape, alike);
  const auto ratio = [&](const SubmodelSpec& s) {
    const double hidden = static_cast<double>(s.hidden_size) / 5120,
                 heads = static_cast<double>(s.layers[0].width) / 128,
                 neurons = static_cast<double>(s.layers[1].width) / 20480;
    return std::max({hidden, heads, neurons}) / std::min({hidden, heads, neurons});
  };
  int others = 0;
  for (index_t d = 0; d < 5; ++d)
    for (index_t h = 0; h < 5; ++h)
      for (index_t f = 0; f < 5; ++f) {
        const auto other = spec_of_choices(shape, alike, decisions, {d, h, f, 0});
        if (!meets_budget(shape, other, 0.5, rules)) continue;
        ++others;
        EXPECT_GE(ratio(other), ratio(spec) - 1e-12) << describe(shape, other);
      }
  EXPECT_GT(others, 1);
  EXPECT_TRUE(homogeneous_submodel(shape, space, 1, rules).same_widths(full_spec(shape)));
}

TEST(Family, ACertainDrawIsTheChoicesOfASubmodel) {
  for (const bool per_layer : {false, true}) {
    const auto shape = small_shape();
    const auto space = small_space(per_layer);
    const auto decisions = list_decisions(shape, space);
    Draw draw(11);
    for (int i = 0; i < 50; ++i) {
      std::vector<index_t> choice;
      for (const auto& decision : decisions)
        choice.push_back(static_cast<index_t>(draw.uniform() * decision.widths.size()));
      const auto spec = spec_of_choices(shape, space, decisions, choice);
      const RouterDraw certain = certain_draw(shape, decisions, spec);
      EXPECT_EQ(certain.soft, certain.value);
      ASSERT_EQ(certain.value.size(), decisions.size());
      for (std::size_t d = 0; d < decisions.size(); ++d) {
        std::vector<double> one_hot(decisions[d].widths.size(), 0.0);
        one_hot[static_cast<std::size_t>(choice[d])] = 1;
        EXPECT_EQ(certain.value[d], one_hot) << axis_name(decisions[d].axis) << " " << d;
      }
    }
    auto odd = full_spec(shape);
    --odd.hidden_size;
    EXPECT_THROW(certain_draw(shape, decisions, odd), ContractError);
  }
}

TEST(Family, HomogeneousWidthsDropLayersWhereWidthsDoNotSuffice) {
  const auto shape = small_shape("M-*-");
  auto space = rigid_space(shape);
  space.hidden.widths = {12, 11};
  space.depth.widths = {0, 1, 2};
  space.drop_order = {3, 1};
  auto spec = full_spec(shape);
  spec.layers[3].keep = false;
  const double budget = parameter_count(shape, spec) / parameter_count(shape);
  EXPECT_FALSE(homogeneous_submodel(shape, space, budget, {1, 0.001}).layers[3].keep);
  EXPECT_THROW(homogeneous_submodel(shape, space, 0.1, {1, 0.001}), InputError);
}

}  // namespace
}  // namespace elastic::test
