// SPDX-License-Identifier: Apache-2.0
// A small training run, and its steps beside those of the algorithm in double (reference_run.hpp):
// losses, norms and rates of every step, and the values at the end.
#pragma once
#include "train/train_step.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/train/reference_run.hpp"

namespace elastic::test {

using Overrides = std::vector<std::string>;

inline Overrides joined(Overrides a, const Overrides& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A mixture of both losses at a temperature, clipping, decay, warm-ups, two stages of different
/// lengths and rates. The large epsilon of AdamW keeps the update of an element smooth in its
/// gradient.
inline const Overrides mixture = joined(
    without_noise,
    {"distill/distillation_weight=0.7", "distill/cross_entropy_weight=0.3", "distill/temperature=2",
     "elastic/weight=0.5", "optimizer/epsilon=1e-2", "optimizer/weight_decay=0.1",
     "optimizer/clip_grad_norm=0.5", "model/init_std=0.2", "pretrain/steps=4",
     "pretrain/warmup_steps=2", "pretrain/learning_rate=0.02", "pretrain/decay=linear",
     "pretrain/final_fraction=0.25", "stage1/steps=3", "stage1/warmup_steps=2",
     "stage1/learning_rate=0.01", "stage1/router_learning_rate=0.05", "stage1/decay=linear"});

inline const std::string second_stage = R"(<stage2>
steps = 3
seq_length = 40
global_batch_size = 2
learning_rate = 0.03
router_learning_rate = 0.01
warmup_steps = 2
decay = linear
)";

inline ResolvedDeck two_stages(const Overrides& overrides = {}) {
  return read_run_config(small_deck_text + second_stage, "small.in", joined(mixture, overrides));
}

/// A run of the steps of a deck, stage after stage, on one rank.
struct SmallRun {
  explicit SmallRun(const ResolvedDeck& resolved)
      : deck(resolved),
        curriculum(make_curriculum(deck.config)),
        state(make_parent<Real>(deck.config)) {}

  /// As the rank phase does it, with a random order and a router with opinions.
  void begin_elastic() {
    elastic::begin_elastic(deck.config, random_ranking(state.model->shape()), state);
    randomize(state.elastic->router->parameters().values(), 61);
  }
  StepMetrics step() { return train.run(state); }

  ResolvedDeck deck;
  Curriculum curriculum;
  TrainState<Real> state;
  ProcessGrid grid{Communicator::self(), {}};
  Arena arena;
  TrainStep<Real> train{grid, deck.config, curriculum, arena};
};

/// Single precision against double: rounding of a few thousand terms, through some steps.
inline constexpr double step_tolerance = 2e-4;

inline void expect_near(double actual, double expected, const std::string& what,
                        double tolerance = step_tolerance) {
  if (std::isnan(expected))
    EXPECT_TRUE(std::isnan(actual)) << what << " " << actual;
  else
    EXPECT_NEAR(actual, expected, tolerance * std::max(1.0, std::abs(expected))) << what;
}

inline void expect_near(const StepMetrics& actual, const StepMetrics& expected, index_t step) {
  const auto name = [&](const std::string& what) {
    return fmt::format("{} of step {}", what, step);
  };
  expect_near(actual.loss, expected.loss, name("loss"));
  expect_near(actual.gradient_norm, expected.gradient_norm, name("norm"));
  EXPECT_NEAR(actual.learning_rate, expected.learning_rate, 1e-12) << name("rate");
  expect_near(actual.tau, expected.tau, name("tau"), 1e-10);
  expect_near(actual.logit_scale, expected.logit_scale, name("logit scale"), 1e-10);
  expect_near(actual.teacher_cross_entropy, expected.teacher_cross_entropy, name("teacher"));
  ASSERT_EQ(actual.budgets.size(), expected.budgets.size());
  for (std::size_t b = 0; b < expected.budgets.size(); ++b) {
    const auto &mine = actual.budgets[b], &theirs = expected.budgets[b];
    expect_near(mine.kl, theirs.kl, name("KL"));
    expect_near(mine.cross_entropy, theirs.cross_entropy, name("cross-entropy"));
    expect_near(mine.budget_loss, theirs.budget_loss, name("budget loss"));
    expect_near(mine.relative_cost, theirs.relative_cost, name("cost"));
    expect_near(mine.share, theirs.share, name("share"));
  }
}

/// The change of the values since `before` is that of the reference.
inline void expect_same_way(const View1<float>& values, const View1<double>& expected,
                            const std::vector<double>& before) {
  auto moved = to_double(values), wanted = to_double(expected);
  double largest = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    largest = std::max(largest, std::abs(wanted[i] -= before[i]));
    moved[i] -= before[i];
  }
  EXPECT_GT(largest, 1e-3) << "nothing was learned";
  for (std::size_t i = 0; i < before.size(); ++i)
    ASSERT_NEAR(moved[i], wanted[i], 2e-3 * largest) << "element " << i;
}

inline void follow_the_reference(const ResolvedDeck& deck) {
  SmallRun run(deck);
  const auto& config = run.deck.config;
  ReferenceRun reference(config, run.state);
  const auto start = to_double(run.state.model->parameters().values());
  const Stage &pretrain = run.curriculum.stages[0], &first = run.curriculum.stages[1],
              &second = run.curriculum.stages[2];
  for (index_t s = 1; s <= 4; ++s)
    expect_near(run.step(), reference.parent_step(pretrain, s), run.state.step);
  expect_same_way(run.state.model->parameters().values(), reference.model().values(), start);

  run.begin_elastic();
  reference.begin_elastic(*run.state.elastic);
  const auto parent = to_double(run.state.model->parameters().values()),
             router = to_double(run.state.elastic->router->parameters().values());
  for (index_t s = 1; s <= 6; ++s) {
    const Stage& stage = s <= 3 ? first : second;
    const double progress = static_cast<double>(s - 1) / 5;
    const index_t local = s <= 3 ? s : s - 3;
    const auto expected =
        reference.elastic_step(stage, local, progress, budgets_of_samples(config, stage, local));
    expect_near(run.step(), expected, run.state.step);
    EXPECT_GT(expected.gradient_norm, config.optimizer.clip_grad_norm) << "clipping is not tested";
  }
  EXPECT_EQ(run.state.step, 10);
  expect_same_way(run.state.model->parameters().values(), reference.model().values(), parent);
  const auto routers = run.state.elastic->router->parameters().values();
  if (config.router.widths == WidthChoice::learned)
    expect_same_way(routers, reference.router().values(), router);
  else
    EXPECT_EQ(to_double(routers), router) << "nothing trains it";
  if (const auto& teacher = run.state.elastic->teacher) {
    EXPECT_TRUE(near(teacher->parameters().values(), parent, 0));  // as it was
  }
}

}  // namespace elastic::test
