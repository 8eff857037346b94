// SPDX-License-Identifier: Apache-2.0
// Operations by formula against those counted in passes and steps; how often budgets are drawn.
#include "plan/work.hpp"

#include "base/region.hpp"
#include "elastic/cost_model.hpp"
#include "train/train_step.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/plan/random_deck.hpp"

namespace elastic::test {
namespace {

TEST(Work, ForwardOperationsAreThoseCounted) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto spec = random_spec(draw, shape);
    const index_t length = draw.between(1, 70);
    ModelProblem<float> problem(shape, 2, {length});
    const auto widths = prefix_widths<float>(shape, spec);
    const double before = counted_flops();
    problem.logits(widths);
    const double counted = (counted_flops() - before) / static_cast<double>(2 * length);
    const double formula = forward_flops_per_token(shape, spec, length);
    EXPECT_NEAR(counted / formula, 1, 1e-12) << seed << " " << shape.pattern() << " L " << length;
  }
}

/// Operations of the first steps of a run, counted, and in the plan.
struct StepFlops {
  double counted, planned_full, planned_narrow;
};
StepFlops step_flops(const std::vector<std::string>& overrides) {
  const ResolvedDeck deck = small_deck(overrides);
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  TrainState state = small_state(config, curriculum.elastic_begin == 0);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep step(grid, config, curriculum, arena);
  const double before = counted_flops();
  step.run(state);
  const double counted = counted_flops() - before;
  const ModelShape shape = parent_shape(config);
  std::vector<SubmodelSpec> full(3, full_spec(shape)), narrow = full;
  narrow[2].hidden_size = 12;
  return {counted, stage_work(config, shape, curriculum.stages[0], full).flops_per_step,
          stage_work(config, shape, curriculum.stages[0], narrow).flops_per_step};
}

TEST(Work, OperationsOfATrainingStep) {
  const std::vector<std::string> elastic = {"job/phases=rank,elastic", "job/parent=p.h5",
                                            "stage1/budgets_per_micro_batch=3",
                                            "elastic/choice_epsilon=0"};
  const auto with = [](std::vector<std::string> a, const std::vector<std::string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  for (const auto& overrides :
       {std::vector<std::string>{},
        {"parallel/recompute=true"},
        elastic,
        with(elastic, {"parallel/recompute=true"}),
        with(elastic, {"distill/cross_entropy_weight=0.5"}),
        with(elastic, {"distill/cross_entropy_weight=1", "distill/distillation_weight=0"})}) {
    const StepFlops flops = step_flops(overrides);
    // Counted is 2% to 3% more: attention's and the convolution's backward passes.
    EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.05) << testing::PrintToString(overrides);
    if (overrides.size() >= elastic.size()) {
      EXPECT_LT(flops.planned_narrow, flops.planned_full);
    }
  }
}

TEST(Work, OperationsOfStepsOfRandomModels) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(100 + seed);
    const bool elastic = seed % 2 == 1;
    auto overrides = random_deck(draw, elastic);
    if (elastic) overrides.emplace_back("stage1/budgets_per_micro_batch=3");
    const StepFlops flops = step_flops(overrides);
    // Backward passes are planned as twice the forward pass; attention, scan and convolution take
    // somewhat more, which small models on long sequences show.
    EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.1) << testing::PrintToString(overrides);
  }
}

TEST(Work, ExpectedDraws) {
  const auto near_list = [](const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-12);
  };
  near_list(expected_draws({1, 1, 1}, 1), {1.0 / 3, 1.0 / 3, 1.0 / 3});
  near_list(expected_draws({5, 3, 2}, 1), {0.5, 0.3, 0.2});
  // without replacement: first or second draw
  near_list(expected_draws({5, 3, 2}, 2),
            {0.5 + 0.3 * 5 / 7 + 0.2 * 5 / 8, 0.3 + 0.5 * 3 / 5 + 0.2 * 3 / 8,
             0.2 + 0.5 * 2 / 5 + 0.3 * 2 / 7});
  near_list(expected_draws({5, 0, 2}, 3), {1, 1, 1});  // all of them, as the training step does
  near_list(expected_draws({1, 0, 0}, 2), {1, 0, 0});
}

TEST(Work, BytesOfARing) {
  EXPECT_EQ(all_reduce_bytes(1000, 1), 0);
  EXPECT_EQ(all_reduce_bytes(1000, 4), 6000);
}

}  // namespace
}  // namespace elastic::test
