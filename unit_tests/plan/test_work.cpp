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
  TrainState<Real> state = small_state(config, curriculum.elastic_begin == 0);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep<Real> step(grid, config, curriculum, arena);
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
                                            "stage1/budgets_per_sample=3",
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
    if (elastic) overrides.emplace_back("stage1/budgets_per_sample=3");
    const StepFlops flops = step_flops(overrides);
    // Backward passes are planned as twice the forward pass; attention, scan and convolution take
    // somewhat more, which small models on long sequences show.
    EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.1) << testing::PrintToString(overrides);
  }
}

TEST(Work, BudgetsCountAsOftenAsTheyAreTrained) {
  const auto work = [](const std::vector<std::string>& overrides) {
    auto all = std::vector<std::string>{"job/phases=rank,elastic", "job/parent=p.h5"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    const RunConfig config = small_deck(all).config;
    const ModelShape shape = parent_shape(config);
    std::vector<SubmodelSpec> specs(3, full_spec(shape));
    specs[1].hidden_size = 20;
    specs[2].hidden_size = 12;
    return stage_work(config, shape, make_curriculum(config).stages[0], specs).flops_per_step;
  };
  const auto only = [&](const char* which) {
    return work({fmt::format("stage1/budget_probability={}", which)});
  };
  const double teacher = work({"stage1/budget_probability=1,0,0"}) -
                         work({"stage1/budget_probability=1,0,0", "distill/distillation_weight=0",
                               "distill/cross_entropy_weight=1"});
  EXPECT_GT(teacher, 0);
  const double a = only("1,0,0"), b = only("0,1,0"), c = only("0,0,1");
  EXPECT_GT(a, b);
  EXPECT_GT(b, c);
  EXPECT_NEAR(only("5,3,2"), 0.5 * a + 0.3 * b + 0.2 * c, 1e-9 * a);
  // Two budgets per sample: the first on all of them, the others share; the teacher, with its
  // logits, once.
  const double both = work({"stage1/budget_probability=5,3,2", "stage1/budgets_per_sample=2"});
  EXPECT_NEAR(both, a + 0.6 * b + 0.4 * c - teacher, 1e-9 * both);
}

TEST(Work, OperationsWithATrainableTeacher) {
  const StepFlops flops =
      step_flops({"job/phases=rank,elastic", "job/parent=p.h5", "stage1/budgets_per_sample=3",
                  "elastic/choice_epsilon=0", "stage1/teacher=trainable",
                  "stage1/teacher_cross_entropy_weight=1"});
  EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.05);
}

TEST(Work, BytesOfARing) {
  EXPECT_EQ(all_reduce_bytes(1000, 1, 4), 0);
  EXPECT_EQ(all_reduce_bytes(1000, 4, 4), 6000);
  EXPECT_EQ(all_reduce_bytes(1000, 4, 2), 4500) << "bfloat16 values";
}

}  // namespace
}  // namespace elastic::test
