// SPDX-License-Identifier: Apache-2.0
// Whole training runs against the algorithm in double (reference_run.hpp): losses, norms and rates
// of every step, and the values at the end; which budgets are trained how often; what the size of
// micro-batches may change; what happens to numbers that are not finite.
#include "train/train_step.hpp"

#include <gmock/gmock.h>

#include "unit_tests/io/io_support.hpp"
#include "unit_tests/train/followed_run.hpp"
#include "unit_tests/train/masked_data.hpp"

namespace elastic::test {
namespace {

const Overrides all_budgets = {"stage1/budgets_per_sample=3", "stage2/budgets_per_sample=3"};

TEST(TrainStep, FollowsTheReferenceThroughAllStages) {
  follow_the_reference(two_stages(all_budgets));
}
TEST(TrainStep, FollowsTheReferenceWithUnevenProbabilities) {
  follow_the_reference(
      two_stages({"stage1/budget_probability=0.5,0.3,0.2", "stage2/budget_probability=1,2,5",
                  "stage2/global_batch_size=3", "stage2/budgets_per_sample=2"}));
}
const Overrides trainable_teacher = {
    "stage1/teacher=trainable", "stage1/teacher_cross_entropy_weight=0.4",
    "stage2/teacher=trainable", "stage2/teacher_cross_entropy_weight=1.5"};

TEST(TrainStep, FollowsTheReferenceWithATrainableTeacher) {
  const auto deck = two_stages(joined(trainable_teacher, {"stage2/budgets_per_sample=2"}));
  follow_the_reference(deck);
  SmallRun run(deck);
  run.begin_elastic();
  EXPECT_EQ(run.state.elastic->teacher, nullptr) << "a copy of the parent for nothing";
}
TEST(TrainStep, FollowsTheReferenceFromAFrozenToATrainableTeacher) {
  follow_the_reference(two_stages({trainable_teacher[2], trainable_teacher[3],
                                   "parallel/recompute=true", "parallel/micro_batch_size=1"}));
}
TEST(TrainStep, FollowsTheReferenceWithATrainableTeacherInDeterministicMode) {
  follow_the_reference(two_stages(joined(trainable_teacher, {"job/deterministic=true"})));
}
TEST(TrainStep, FollowsTheReferenceWithSmallMicroBatchesAndRecomputation) {
  follow_the_reference(
      two_stages(joined(all_budgets, {"parallel/micro_batch_size=1", "parallel/recompute=true",
                                      "parallel/logit_chunk_tokens=7"})));
}
TEST(TrainStep, FollowsTheReferenceInDeterministicMode) {
  follow_the_reference(two_stages(joined(all_budgets, {"job/deterministic=true"})));
}
const Overrides homogeneous = {"router/widths=homogeneous",
                               "elastic/per_layer=", "optimizer/clip_grad_norm=0.2"};

TEST(TrainStep, FollowsTheReferenceWithFixedWidths) {
  follow_the_reference(two_stages(joined(homogeneous, {"stage2/budgets_per_sample=2"})));
}
TEST(TrainStep, FollowsTheReferenceWithFixedWidthsInDeterministicMode) {
  follow_the_reference(
      two_stages(joined(joined(homogeneous, all_budgets), {"job/deterministic=true"})));
}

class MaskedTrainStep : public InFolder {};

TEST_F(MaskedTrainStep, FollowsTheReferenceWhereTokensCount) {
  const auto data = masked_data((folder / "data").string());
  for (const Overrides& mode :
       {Overrides{"parallel/micro_batch_size=1", "distill/cross_entropy_weight=0.5"},
        {"job/deterministic=true"}})
    follow_the_reference(two_stages(joined(joined(all_budgets, data), mode)));
}

/// Steps that cost next to nothing: one short sequence each, rates 0.
ResolvedDeck many_steps(const Overrides& overrides) {
  return read_run_config(
      small_deck_text + second_stage, "small.in",
      joined({"job/phases=rank,elastic", "job/parent=p.h5", "model/hybrid_layer_pattern=-M",
              "elastic/num_attention_heads=", "elastic/drop_layers=0,1", "stage1/seq_length=48",
              "stage2/seq_length=48", "stage1/global_batch_size=1", "stage2/global_batch_size=1",
              "parallel/micro_batch_size=1", "stage1/learning_rate=0", "stage2/learning_rate=0",
              "stage1/router_learning_rate=0", "stage2/router_learning_rate=0"},
             overrides));
}

/// How often each budget was trained in steps of one sample, and each prefix of them.
std::vector<double> counts(SmallRun& run, index_t steps, const std::vector<double>& probability) {
  std::vector<double> count(3, 0.0);
  for (index_t s = 1; s <= steps; ++s) {
    const auto metrics = run.step();
    for (std::size_t b = 0; b < 3; ++b) {
      EXPECT_EQ(std::isnan(metrics.budgets[b].kl), metrics.budgets[b].share == 0);
      count[b] += metrics.budgets[b].share;
      EXPECT_LT(std::abs(count[b] - static_cast<double>(s) * probability[b]), 1.5) << "step " << s;
    }
  }
  return count;
}

TEST(TrainStep, EveryStageTrainsBudgetsInItsOwnProportions) {
  SmallRun run(many_steps({"stage1/budget_probability=0.6,0,0.4", "stage1/steps=50",
                           "stage2/budget_probability=1,2,7", "stage2/steps=50"}));
  run.begin_elastic();
  EXPECT_EQ(counts(run, 50, {0.6, 0, 0.4}), (std::vector<double>{30, 0, 20}));
  EXPECT_EQ(counts(run, 50, {0.1, 0.2, 0.7}), (std::vector<double>{5, 10, 35}));
}

TEST(TrainStep, SeveralBudgetsOfASampleDiffer) {
  SmallRun run(many_steps(
      {"stage1/budgets_per_sample=2", "stage1/steps=20", "stage1/budget_probability=0.5,0.4,0.1"}));
  run.begin_elastic();
  for (index_t s = 0; s < 20; ++s) {
    const auto metrics = run.step();
    const auto trained = std::count_if(metrics.budgets.begin(), metrics.budgets.end(),
                                       [](const auto& b) { return b.share == 0.5; });
    ASSERT_EQ(trained, 2) << "step " << s;
    EXPECT_EQ(metrics.budgets[0].share, 0.5) << "two of these three are on every sample";
  }
}

/// All that two stages with noise give when micro-batches have this size.
std::vector<StepMetrics> metrics_of(index_t micro_batch_size, bool deterministic) {
  SmallRun run(read_run_config(
      small_deck_text + second_stage, "small.in",
      {"job/phases=rank,elastic", "job/parent=p.h5", "model/init_std=0.2",
       "model/hybrid_layer_pattern=M-*", "elastic/drop_layers=0,1", "elastic/choice_epsilon=0.02",
       "optimizer/epsilon=1e-2", "stage1/seq_length=40", "stage1/global_batch_size=12",
       "stage2/global_batch_size=6", "stage1/steps=3", "stage2/steps=3",
       "stage2/budget_probability=0.5,0.3,0.2", "router/hard_sample_probability=0.2",
       "router/samples_per_draw=4", fmt::format("job/deterministic={}", deterministic),
       fmt::format("parallel/micro_batch_size={}", micro_batch_size)}));
  run.begin_elastic();
  std::vector<StepMetrics> metrics;
  for (index_t s = 0; s < 6; ++s) metrics.push_back(run.step());
  return metrics;
}

TEST(TrainStep, SizesOfMicroBatchesChangeRoundingOnly) {
  const auto expected = metrics_of(1, false);
  for (const index_t size : {2, 3, 4, 8}) {
    const auto actual = metrics_of(size, false);
    for (std::size_t s = 0; s < 6; ++s) {
      SCOPED_TRACE(fmt::format("micro-batches of {}", size));
      expect_near(actual[s], expected[s], static_cast<index_t>(s) + 1);
    }
  }
}

TEST(TrainStep, SizesOfMicroBatchesChangeNothingInDeterministicMode) {
  const auto expected = metrics_of(1, true), actual = metrics_of(4, true);
  for (std::size_t s = 0; s < 6; ++s) {
    EXPECT_EQ(actual[s].loss, expected[s].loss);
    EXPECT_EQ(actual[s].gradient_norm, expected[s].gradient_norm);
    for (std::size_t b = 0; b < 3; ++b)
      EXPECT_EQ(actual[s].budgets[b].share, expected[s].budgets[b].share);
  }
}

TEST(TrainStep, StagesAndSeedsHaveNoiseOfTheirOwn) {
  // In both stages the same steps, whatever the number of micro-batches: no draw comes back.
  std::vector<double> costs;
  for (const int seed : {1, 2}) {
    SmallRun run(many_steps({"stage1/budgets_per_sample=3", "stage2/budgets_per_sample=3",
                             "stage1/steps=4", "stage2/steps=4", "stage2/global_batch_size=2",
                             "router/hard_sample_probability=0", "elastic/choice_epsilon=0",
                             "router/tau_end=1", "router/logit_scale_end=1",
                             fmt::format("job/seed={}", seed)}));
    run.begin_elastic();
    Kokkos::deep_copy(run.state.elastic->router->parameters().values(), 0.0f);
    for (index_t s = 0; s < 8; ++s)
      for (const auto& budget : run.step().budgets) costs.push_back(budget.relative_cost);
  }
  std::sort(costs.begin(), costs.end());
  EXPECT_EQ(std::adjacent_find(costs.begin(), costs.end()), costs.end());
}

TEST(TrainStep, NoiseOfTheRouterChangesFromStepToStep) {
  SmallRun run(many_steps(
      {"stage1/budgets_per_sample=3", "stage1/steps=4", "router/hard_sample_probability=0"}));
  run.begin_elastic();
  std::vector<double> costs;
  for (index_t s = 0; s < 4; ++s) costs.push_back(run.step().budgets[1].relative_cost);
  for (std::size_t i = 0; i < costs.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(costs[i], costs[j]) << i << " " << j;
}

TEST(TrainStep, NoiseOfTheRouterIsAnotherForEachBudget) {
  SmallRun run(many_steps(
      {"stage1/budgets_per_sample=3", "stage1/steps=1", "router/hard_sample_probability=0"}));
  run.begin_elastic();
  Kokkos::deep_copy(run.state.elastic->router->parameters().values(), 0.0f);  // noise alone decides
  const auto budgets = run.step().budgets;
  EXPECT_NE(budgets[0].relative_cost, budgets[1].relative_cost);
  EXPECT_NE(budgets[0].relative_cost, budgets[2].relative_cost);
  EXPECT_NE(budgets[1].relative_cost, budgets[2].relative_cost);
}

/// The loss of a step as a function of weights, with all its random numbers fixed, against the
/// gradient that the step forms: through the router with its noise, masks, cost and both losses.
class StepGradient : public testing::Test {
 protected:
  void SetUp() override {
    run.begin_elastic();
    // Neither the student nor its head is the teacher's.
    const auto values = run.state.model->parameters().values();
    auto moved = to_host(values);
    const auto noise = random_values<float>(static_cast<index_t>(moved.size()), 3, -0.1, 0.1);
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += noise[i];
    assign(values, moved);
    const auto& router = run.state.elastic->router->parameters();
    metrics = loss();
    per_token = metrics.gradient_norm / std::sqrt(dot(run.state.model->parameters().gradients(),
                                                      run.state.model->parameters().gradients()) +
                                                  dot(router.gradients(), router.gradients()));
  }
  StepMetrics loss() {
    run.state.step = 0;
    return run.step();
  }
  /// Relative difference of the slope along `direction` and what the gradient says.
  double error(const View1<float>& values, const std::vector<double>& gradient,
               std::vector<double> direction) {
    const double length = std::sqrt(dot(direction, direction));
    for (double& x : direction) x /= length;
    const auto before = to_host(values);
    const auto loss_at = [&](double h) {
      auto moved = before;
      for (std::size_t i = 0; i < moved.size(); ++i)
        moved[i] += static_cast<float>(h * direction[i]);
      assign(values, moved);
      return loss().loss;
    };
    constexpr double h = 0.01;
    const double numeric = (loss_at(h) - loss_at(-h)) / (2 * h);
    assign(values, before);
    return std::abs(numeric - per_token * dot(gradient, direction)) /
           std::max(per_token * std::sqrt(dot(gradient, gradient)), 1e-2);
  }
  /// Each tensor along its gradient, all of them along any direction.
  void check(const ParameterStore<float>& store) {
    loss();
    const auto gradient = to_double(store.gradients());
    for (const auto& tensor : store) {
      const auto begin = gradient.begin() + tensor.offset;
      const std::vector<double> own(begin, begin + tensor.size());
      ASSERT_GT(dot(own, own), 0) << tensor.info.name;
      EXPECT_LT(error(tensor.value_vector(), own, own), 0.03) << tensor.info.name;
    }
    for (const std::uint32_t seed : {17, 18})
      EXPECT_LT(error(store.values(), gradient,
                      random_values<double>(static_cast<index_t>(gradient.size()), seed, -1, 1)),
                0.03);
  }

  SmallRun run{read_run_config(
      small_deck_text, "small.in",
      {"job/phases=rank,elastic", "job/parent=p.h5", "model/init_std=0.2",
       "model/hybrid_layer_pattern=M-*", "elastic/drop_layers=0,1", "stage1/global_batch_size=2",
       "distill/distillation_weight=0.7", "distill/cross_entropy_weight=0.3",
       "distill/temperature=2", "elastic/weight=0.5", "elastic/choice_epsilon=0",
       "router/hard_sample_probability=0", "stage1/seq_length=40", "stage1/learning_rate=0",
       "stage1/router_learning_rate=0", "stage1/budgets_per_sample=3"})};
  StepMetrics metrics;
  double per_token = 0;
};

/// What a trainable teacher teaches counts as constant: the slope is that of the loss with a frozen
/// teacher of the same weights, plus alpha times that of its cross-entropy.
TEST(TrainableTeacher, GradientIsTheSlopeWithoutWhatItTeaches) {
  const Overrides common = {"job/phases=rank,elastic",
                            "job/parent=p.h5",
                            "model/init_std=0.2",
                            "model/hybrid_layer_pattern=M-*",
                            "elastic/drop_layers=0,1",
                            "elastic/choice_epsilon=0",
                            "router/hard_sample_probability=0",
                            "stage1/seq_length=40",
                            "stage1/learning_rate=0",
                            "stage1/router_learning_rate=0",
                            "stage1/global_batch_size=2",
                            "stage1/budgets_per_sample=2"};
  constexpr double alpha = 0.6;
  SmallRun frozen(read_run_config(small_deck_text, "small.in", common));
  SmallRun trained(read_run_config(
      small_deck_text, "small.in",
      joined(common, {"stage1/teacher=trainable",
                      fmt::format("stage1/teacher_cross_entropy_weight={}", alpha)})));
  frozen.begin_elastic();
  trained.begin_elastic();
  const auto& values = trained.state.model->parameters().values();
  auto start = to_host(values);
  const auto noise = random_values<float>(static_cast<index_t>(start.size()), 3, -0.1, 0.1);
  for (std::size_t i = 0; i < start.size(); ++i) start[i] += noise[i];
  assign(frozen.state.elastic->teacher->parameters().values(), start);
  const auto at = [&](const std::vector<float>& where) {
    assign(values, where);
    assign(frozen.state.model->parameters().values(), where);
    frozen.state.step = trained.state.step = 0;
    const auto metrics = trained.step();
    return std::pair{metrics, frozen.step().loss + alpha * metrics.teacher_cross_entropy};
  };
  const auto [metrics, loss] = at(start);
  EXPECT_NEAR(metrics.loss, loss, 1e-5 * loss);
  const auto &model = trained.state.model->parameters(),
             &router = trained.state.elastic->router->parameters();
  const auto gradient = to_double(model.gradients());
  const double squares = dot(gradient, gradient),
               per_token = metrics.gradient_norm /
                           std::sqrt(squares + dot(router.gradients(), router.gradients()));
  for (const std::uint32_t seed : {0, 1, 2}) {  // along the gradient, and anywhere
    auto direction =
        seed == 0 ? gradient : random_values<double>(static_cast<index_t>(gradient.size()), seed);
    const double length = std::sqrt(dot(direction, direction));
    const auto loss_at = [&](double h) {
      auto moved = start;
      for (std::size_t i = 0; i < moved.size(); ++i)
        moved[i] += static_cast<float>(h / length * direction[i]);
      return at(moved).second;
    };
    constexpr double h = 0.01;
    EXPECT_NEAR((loss_at(h) - loss_at(-h)) / (2 * h), per_token * dot(gradient, direction) / length,
                0.03 * per_token * std::sqrt(squares))
        << seed;
  }
}

TEST_F(StepGradient, OfTheModelIsTheSlopeOfTheLoss) { check(run.state.model->parameters()); }
TEST_F(StepGradient, OfTheRouterIsTheSlopeOfTheLoss) {
  for (const auto& budget : metrics.budgets) EXPECT_GT(budget.budget_loss, 0) << "not tested";
  check(run.state.elastic->router->parameters());
}

TEST(TrainStep, AModelWithoutRateStaysWhileTheRouterLearns) {
  SmallRun run(two_stages(joined(all_budgets, {"pretrain/learning_rate=0", "stage1/learning_rate=0",
                                               "stage2/learning_rate=0"})));
  run.begin_elastic();
  run.state.step = 4;
  const auto model = to_host(run.state.model->parameters().values()),
             router = to_host(run.state.elastic->router->parameters().values());
  EXPECT_GT(run.step().gradient_norm, 0);
  EXPECT_TRUE(bitwise_equal(to_host(run.state.model->parameters().values()), model));
  EXPECT_NE(to_host(run.state.elastic->router->parameters().values()), router);
}

TEST(TrainStep, LossesWithoutWeightAreNotComputed) {
  const auto budgets = [](const Overrides& overrides) {
    SmallRun run(two_stages(joined(all_budgets, overrides)));
    run.begin_elastic();
    run.state.step = 4;
    return run.step().budgets;
  };
  for (const auto& b :
       budgets({"distill/distillation_weight=0", "distill/cross_entropy_weight=1"})) {
    EXPECT_TRUE(std::isnan(b.kl));
    EXPECT_GT(b.cross_entropy, 0);
  }
  for (const auto& b :
       budgets({"distill/distillation_weight=1", "distill/cross_entropy_weight=0"})) {
    EXPECT_TRUE(std::isnan(b.cross_entropy));
    EXPECT_GT(b.kl, 0);
  }
}

TEST(TrainStep, NumbersThatAreNotFiniteStopTheRunAndAreNamed) {
  for (const bool deterministic : {false, true}) {
    SmallRun run(two_stages({fmt::format("job/deterministic={}", deterministic)}));
    const auto& tensor = run.state.model->parameters()[3];
    auto values = to_host(tensor.value);
    values[0] = std::numeric_limits<float>::quiet_NaN();
    assign(tensor.value, values);
    const auto before = to_host(run.state.model->output_layer().value);
    const auto message = message_of<NumericsError>([&] { run.step(); });
    SCOPED_TRACE(deterministic ? "deterministic" : "fast");
    contains(message, "step 1 (pretrain)");
    contains(message, "first tensor that is not finite: word_embeddings");
    EXPECT_EQ(run.state.step, 0);
    EXPECT_TRUE(bitwise_equal(to_host(run.state.model->output_layer().value), before));
  }
}

}  // namespace
}  // namespace elastic::test
