// SPDX-License-Identifier: Apache-2.0
// Extraction against brute force: both routes meet the budget whenever any choice does.
#include "elastic/submodel_choice.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <optional>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

struct Instance {
  ModelShape shape;
  ElasticSpace space;
  std::vector<Decision> decisions;
  Probabilities logits;
  double full_cost() const { return parameter_count(shape, expected_widths(full_spec(shape))); }
  double relative_cost(const SubmodelSpec& spec) const {
    return parameter_count(shape, expected_widths(spec)) / full_cost();
  }
  double log_probability(const std::vector<index_t>& choice, double scale) const {
    double sum = 0;
    for (std::size_t d = 0; d < choice.size(); ++d) {
      double total = 0;
      for (const double z : logits[d]) total += std::exp(scale * z);
      sum += scale * logits[d][choice[d]] - std::log(total);
    }
    return sum;
  }
  /// The log-probability of a submodel: the best of the choices that give it.
  double log_probability(const SubmodelSpec& spec, double scale) const {
    double best = -1e300;
    for_all([&](const std::vector<index_t>& choice, const SubmodelSpec& other) {
      if (other.same_widths(spec)) best = std::max(best, log_probability(choice, scale));
    });
    return best;
  }
  void for_all(
      const std::function<void(const std::vector<index_t>&, const SubmodelSpec&)>& visit) const {
    std::vector<index_t> choice(decisions.size(), 0);
    const std::function<void(std::size_t)> descend = [&](std::size_t d) {
      if (d == decisions.size())
        return visit(choice, spec_of_choices(shape, space, decisions, choice));
      for (std::size_t i = 0; i < decisions[d].widths.size(); ++i) {
        choice[d] = static_cast<index_t>(i);
        descend(d + 1);
      }
    };
    descend(0);
  }
};

Instance make_instance(std::uint64_t seed, bool per_layer, double spread) {
  Draw draw(seed);
  Instance instance{small_shape(), small_space(per_layer), {}, {}};
  instance.decisions = list_decisions(instance.shape, instance.space);
  for (const auto& d : instance.decisions) {
    auto& z = instance.logits.emplace_back();
    for (std::size_t i = 0; i < d.widths.size(); ++i) z.push_back(spread * draw.uniform());
  }
  return instance;
}

struct Outcome {
  int feasible = 0, exact = 0;
  double worst_loss = 0;
};

/// Compares one route with brute force over random logits and budgets.
Outcome compare(bool per_layer, index_t exhaustive_limit, int instances) {
  Outcome outcome;
  for (int n = 0; n < instances; ++n) {
    const auto instance = make_instance(n, per_layer, 3);
    Draw draw(5000 + n);
    const double budget = 0.25 + 0.75 * draw.uniform(), tolerance = 0.01 + 0.04 * draw.uniform(),
                 scale = 2;
    std::optional<double> best;
    instance.for_all([&](const std::vector<index_t>& choice, const SubmodelSpec& spec) {
      if (std::abs(instance.relative_cost(spec) / budget - 1) > tolerance) return;
      best = std::max(best.value_or(-1e300), instance.log_probability(choice, scale));
    });
    const auto choose = [&] {
      return choose_submodel(instance.shape, instance.space, instance.logits, scale, budget,
                             tolerance, {}, exhaustive_limit);
    };
    if (!best) {
      EXPECT_THROW(choose(), InputError);
      continue;
    }
    ++outcome.feasible;
    const auto spec = choose();
    EXPECT_LE(std::abs(instance.relative_cost(spec) / budget - 1), tolerance * (1 + 1e-12));
    EXPECT_EQ(spec.budget, budget);
    const double loss = *best - instance.log_probability(spec, scale);
    EXPECT_GE(loss, -1e-9);
    outcome.exact += loss < 1e-9;
    outcome.worst_loss = std::max(outcome.worst_loss, loss);
  }
  return outcome;
}

TEST(SubmodelChoice, SmallSpacesAreSolvedExactly) {
  const auto outcome = compare(false, 20000, 100);
  EXPECT_GT(outcome.feasible, 30);
  EXPECT_EQ(outcome.exact, outcome.feasible);
}

TEST(SubmodelChoice, LocalSearchFindsTheBudgetAndMostlyTheBest) {
  for (const bool per_layer : {false, true}) {
    const auto outcome = compare(per_layer, 0, per_layer ? 12 : 100);
    RecordProperty(per_layer ? "per_layer" : "shared",
                   fmt::format("{} of {} exact, worst loss {}", outcome.exact, outcome.feasible,
                               outcome.worst_loss));
    EXPECT_GT(outcome.feasible, per_layer ? 9 : 30);
    EXPECT_GE(outcome.exact, 0.8 * outcome.feasible) << "worst loss " << outcome.worst_loss;
  }
}

TEST(SubmodelChoice, TheMostLikelyChoiceIsTakenWhereItFits) {
  const auto instance = make_instance(3, true, 3);
  std::vector<index_t> likely;
  for (const auto& z : instance.logits)
    likely.push_back(std::max_element(z.begin(), z.end()) - z.begin());
  const auto expected = spec_of_choices(instance.shape, instance.space, instance.decisions, likely);
  const double budget = instance.relative_cost(expected) * 1.01;
  for (const index_t limit : {0, 20000})
    EXPECT_TRUE(
        choose_submodel(instance.shape, instance.space, instance.logits, 1, budget, 0.02, {}, limit)
            .same_widths(expected));
}

TEST(SubmodelChoice, UnreachableBudgetNamesItsNeighbours) {
  const auto shape = small_shape("-");
  auto space = rigid_space(shape);
  space.ffn.widths = {10, 5};
  const double full = 2 * 50 * 12 + 12 + 12 + 240, half = full - 120;
  for (const index_t limit : {0, 20000}) try {
      choose_submodel(shape, space, {{1, 0}}, 1, 0.96, 0.01, {}, limit);
      FAIL() << "0.96 is out of reach";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("{:.4f} and 1.0000", half / full)));
    }
}

TEST(SubmodelChoice, NothingElasticReachesTheFullBudgetOnly) {
  const auto shape = small_shape();
  EXPECT_TRUE(
      choose_submodel(shape, rigid_space(shape), {}, 1, 1, 0.01, {}).same_widths(full_spec(shape)));
  EXPECT_THROW(choose_submodel(shape, rigid_space(shape), {}, 1, 0.5, 0.01, {}), InputError);
}

TEST(SubmodelChoice, The12BWithPerLayerChoices) {
  const auto shape = nemotron_12b();
  auto space = rigid_space(shape);
  space.hidden.widths = {5120, 4608, 4096, 3584};
  space.mamba_heads = {{128, 112, 96, 80}, true};
  space.ffn = {{20480, 15360, 12800, 10240}, true};
  const auto decisions = list_decisions(shape, space);
  Draw draw(12);
  Probabilities logits;
  for (const auto& d : decisions) {
    auto& z = logits.emplace_back();
    for (std::size_t i = 0; i < d.widths.size(); ++i) z.push_back(draw.uniform());
  }
  for (const double budget : {0.85, 0.75, 0.5}) {
    const auto spec = choose_submodel(shape, space, logits, 10, budget, 0.01, {});
    EXPECT_NEAR(parameter_count(shape, expected_widths(spec)) / 12310001152.0, budget,
                0.01 * budget);
  }
}

TEST(SubmodelChoice, ScalesOfLogitsDoNotMatterWhereTheLikeliestFits) {
  const auto instance = make_instance(3, false, 2);
  std::vector<index_t> likely;
  for (const auto& z : instance.logits)
    likely.push_back(std::max_element(z.begin(), z.end()) - z.begin());
  const auto spec = spec_of_choices(instance.shape, instance.space, instance.decisions, likely);
  const double budget = instance.relative_cost(spec);
  for (const double scale : {0.1, 1.0, 10.0})
    EXPECT_TRUE(
        choose_submodel(instance.shape, instance.space, instance.logits, scale, budget, 1e-9, {})
            .same_widths(spec));
}

TEST(SubmodelChoice, EqualLogitsStillMeetTheBudget) {
  auto instance = make_instance(4, false, 0);
  for (const double budget : {0.9, 0.7, 0.5, 0.35}) {
    const auto spec =
        choose_submodel(instance.shape, instance.space, instance.logits, 1, budget, 0.05, {});
    EXPECT_NEAR(instance.relative_cost(spec) / budget, 1, 0.05 + 1e-12);
    EXPECT_EQ(spec.budget, budget);
    EXPECT_EQ(spec.name, fmt::format("{}", budget));
  }
}

TEST(SubmodelChoice, MemoryBudgetsAreMetInMemory) {
  const auto instance = make_instance(5, false, 1);
  const CostConfig memory{BudgetKind::memory, 1, 20, 2, 2};
  const auto bytes = [&](const SubmodelSpec& spec) {
    return cost(instance.shape, expected_widths(spec), memory);
  };
  const auto spec =
      choose_submodel(instance.shape, instance.space, instance.logits, 1, 0.5, 0.05, memory);
  EXPECT_NEAR(bytes(spec) / bytes(full_spec(instance.shape)), 0.5, 0.025 + 1e-12);
}

TEST(SubmodelChoice, ListsMustFitTheDecisions) {
  auto instance = make_instance(6, false, 1);
  instance.logits.pop_back();
  EXPECT_THROW(choose_submodel(instance.shape, instance.space, instance.logits, 1, 0.5, 0.05, {}),
               ContractError);
}

}  // namespace
}  // namespace elastic::test
