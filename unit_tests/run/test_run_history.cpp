// SPDX-License-Identifier: Apache-2.0
// history.csv and router.csv: which number stands in which column, what stays empty, and how a
// resumed run goes on.
#include "run/run_history.hpp"

#include "io/history.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class RunHistoryTest : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    run.root = folder;
    deck = small_deck();
    curriculum = make_curriculum(deck.config);
  }
  const Stage& pretrain() const { return curriculum.stages[0]; }
  const Stage& stage1() const { return curriculum.stages[1]; }
  static StepMetrics elastic_metrics(double base) {
    StepMetrics metrics{.loss = base,
                        .gradient_norm = base + 1,
                        .learning_rate = base + 2,
                        .tau = base + 3,
                        .logit_scale = base + 4,
                        .budgets = {}};
    for (double b = 0; b < 3; ++b)
      metrics.budgets.push_back({base + 10 * b + 5, base + 10 * b + 6, base + 10 * b + 7,
                                 base + 10 * b + 8, base + 10 * b + 9});
    return metrics;
  }
  static double number(const History& history, const std::string& column, std::size_t row = 0) {
    return history.numbers(column).at(row);
  }

  RunFolder run;
  ResolvedDeck deck;
  Curriculum curriculum;
};

TEST_F(RunHistoryTest, StepsOfTheParent) {
  {
    RunHistory history(run, deck.config, 0, true);
    history.append(2, pretrain(), 384,
                   {.loss = 1.5, .gradient_norm = 2.5, .learning_rate = 3.5, .budgets = {}},
                   {.budgets = {{.cross_entropy = 4.5, .kl = 5.5}}, .parameters = {}});
    history.append(3, pretrain(), 576, {.loss = 1, .budgets = {}}, {});
  }
  const History history(run.history());
  ASSERT_EQ(history.num_rows(), 2u);
  EXPECT_EQ(history.texts("stage")[0], "pretrain");
  EXPECT_EQ(number(history, "step"), 2);
  EXPECT_EQ(number(history, "tokens"), 384);
  EXPECT_EQ(number(history, "loss"), 1.5);
  EXPECT_EQ(number(history, "gradient_norm"), 2.5);
  EXPECT_EQ(number(history, "learning_rate"), 3.5);
  EXPECT_EQ(number(history, "valid_loss_parent"), 4.5);
  for (const char* column : {"tau", "logit_scale", "kl_large", "relative_cost_small",
                             "valid_loss_middle", "valid_kl_large", "parameters_small"})
    EXPECT_TRUE(std::isnan(number(history, column))) << column;
  EXPECT_TRUE(std::isnan(number(history, "valid_loss_parent", 1))) << "not validated";
}

TEST_F(RunHistoryTest, StepsOfAnElasticStage) {
  {
    RunHistory history(run, deck.config, 0, true);
    history.append(6, stage1(), 1000, elastic_metrics(0.5),
                   {.budgets = {{1, 2}, {3, 4}, {5, 6}}, .parameters = {700, 800, 900}});
    auto drawn = elastic_metrics(0.5);
    drawn.budgets[1].kl = std::numeric_limits<double>::quiet_NaN();
    history.append(7, stage1(), 1256, drawn, {});
  }
  const History history(run.history());
  EXPECT_EQ(history.texts("stage")[0], "stage1");
  EXPECT_EQ(number(history, "tau"), 3.5);
  EXPECT_EQ(number(history, "logit_scale"), 4.5);
  EXPECT_TRUE(std::isnan(number(history, "valid_loss_parent")));
  const std::vector<std::string> names = {"large", "middle", "small"};
  for (std::size_t b = 0; b < 3; ++b) {
    const double base = 0.5 + 10.0 * static_cast<double>(b), two = 2.0 * static_cast<double>(b);
    EXPECT_EQ(number(history, "kl_" + names[b]), base + 5);
    EXPECT_EQ(number(history, "cross_entropy_" + names[b]), base + 6);
    EXPECT_EQ(number(history, "budget_loss_" + names[b]), base + 7);
    EXPECT_EQ(number(history, "relative_cost_" + names[b]), base + 8);
    EXPECT_EQ(number(history, "valid_loss_" + names[b]), two + 1);
    EXPECT_EQ(number(history, "valid_kl_" + names[b]), two + 2);
    EXPECT_EQ(number(history, "parameters_" + names[b]), 700 + 50 * two);
    EXPECT_TRUE(std::isnan(number(history, "valid_loss_" + names[b], 1))) << "not validated";
  }
  EXPECT_TRUE(std::isnan(number(history, "kl_middle", 1))) << "not drawn";
  EXPECT_FALSE(std::isnan(number(history, "kl_small", 1)));
}

void append_router(RunHistory& history, index_t step, const TrainState<Real>& state) {
  const auto& elastic = *state.elastic;
  history.append_router(step, *elastic.router, elastic.decisions, elastic.fixed);
}

TEST_F(RunHistoryTest, WhatTheRouterLikes) {
  const TrainState<Real> state = small_state(deck.config);
  {
    RunHistory history(run, deck.config, 0, true);
    append_router(history, 17, state);
  }
  const History router(run.router());
  const auto& decisions = state.elastic->decisions;
  ASSERT_EQ(router.num_rows(), 3 * decisions.size());
  const std::vector<std::string> names = {"large", "middle", "small"};
  std::size_t row = 0;
  for (std::size_t b = 0; b < 3; ++b) {
    const auto logits = state.elastic->router->logits({}, deck.config.elastic.budgets[b]);
    for (std::size_t d = 0; d < decisions.size(); ++d, ++row) {
      EXPECT_EQ(router.texts("budget")[row], names[b]);
      EXPECT_EQ(router.texts("axis")[row], axis_name(decisions[d].axis));
      EXPECT_EQ(number(router, "step", row), 17);
      EXPECT_EQ(number(router, "layer", row), decisions[d].layer);
      // Probabilities without noise at the last logit scale, which is 10.
      double sum = 0, expected = 0, best = 0;
      for (const double z : logits[d]) sum += std::exp(10 * z);
      std::size_t likely = 0;
      for (std::size_t i = 0; i < logits[d].size(); ++i) {
        const double p = std::exp(10 * logits[d][i]) / sum;
        expected += p * static_cast<double>(decisions[d].widths[i]);
        if (p > best) {
          best = p;
          likely = i;
        }
      }
      EXPECT_EQ(number(router, "likely_width", row), decisions[d].widths[likely]);
      EXPECT_NEAR(number(router, "probability", row), best, 1e-6);
      EXPECT_NEAR(number(router, "expected_width", row), expected, 1e-4);
    }
  }
}

TEST_F(RunHistoryTest, FixedWidthsInPlaceOfWhatTheRouterLikes) {
  deck = small_deck({"router/widths=homogeneous", "elastic/per_layer="});
  const TrainState<Real> state = small_state(deck.config);
  {
    RunHistory history(run, deck.config, 0, true);
    append_router(history, 17, state);
  }
  const History router(run.router());
  const auto& decisions = state.elastic->decisions;
  ASSERT_EQ(router.num_rows(), 3 * decisions.size());
  std::size_t row = 0;
  for (const auto& fixed : state.elastic->fixed)
    for (std::size_t d = 0; d < decisions.size(); ++d, ++row) {
      const auto& list = fixed.value[d];
      const auto place = std::find(list.begin(), list.end(), 1.0) - list.begin();
      EXPECT_EQ(number(router, "probability", row), 1);
      EXPECT_EQ(number(router, "likely_width", row), decisions[d].widths[place]);
      EXPECT_EQ(number(router, "expected_width", row), decisions[d].widths[place]);
    }
}

TEST_F(RunHistoryTest, AResumedRunGoesOnAfterItsCheckpoint) {
  const TrainState<Real> state = small_state(deck.config);
  {
    RunHistory history(run, deck.config, 0, true);
    for (const index_t step : {5, 6, 7}) {
      history.append(step, stage1(), 100 * step, elastic_metrics(1), {});
      append_router(history, step, state);
    }
  }
  {
    RunHistory history(run, deck.config, 6, true);
    history.append(7, stage1(), 700, elastic_metrics(2), {});
  }
  const History history(run.history());
  EXPECT_EQ(history.numbers("step"), (std::vector<double>{5, 6, 7}));
  EXPECT_EQ(history.numbers("loss"), (std::vector<double>{1, 1, 2}));
  EXPECT_EQ(History(run.router()).numbers("step").back(), 6);
}

TEST_F(RunHistoryTest, BudgetsThatLieAheadMayChange) {
  {
    RunHistory(run, deck.config, 0, true)
        .append(3, pretrain(), 384, {.loss = 1.5, .budgets = {}}, {});
  }
  deck = small_deck(
      {"elastic/budgets=1,0.8", "elastic/budget_names=large,other", "stage1/budget_probability="});
  {
    RunHistory(run, deck.config, 3, true)
        .append(4, pretrain(), 500, {.loss = 2, .budgets = {}}, {});
  }
  const History history(run.history());
  EXPECT_EQ(history.numbers("loss"), (std::vector<double>{1.5, 2}));
  EXPECT_EQ(history.texts("kl_other"), (std::vector<std::string>{"", ""}));
  contains(message_of<InputError>([&] { history.texts("kl_small"); }), "kl_small");
  EXPECT_FALSE(std::filesystem::exists(run.history().string() + ".1")) << "nothing was lost";
}

TEST_F(RunHistoryTest, ATableThatWouldLoseNumbersIsKept) {
  { RunHistory(run, deck.config, 0, true).append(6, stage1(), 100, elastic_metrics(0.5), {}); }
  const std::string before = bytes_of(run.history());
  deck = small_deck({"elastic/budget_names=large,other,small"});
  { RunHistory(run, deck.config, 6, true); }
  EXPECT_EQ(bytes_of(run.history().string() + ".1"), before);
  EXPECT_EQ(History(run.history()).numbers("kl_small"), (std::vector<double>{25.5}));
}

TEST_F(RunHistoryTest, ATableThatWasRemovedOrReplacedIsNoticed) {
  RunHistory history(run, deck.config, 0, true);
  history.require_linked();
  std::filesystem::rename(run.router(), folder / "moved");
  contains(message_of<RunError>([&] { history.require_linked(); }), "router.csv: was removed");
  write_bytes(run.router(), "");
  contains(message_of<RunError>([&] { history.require_linked(); }), "router.csv: was replaced");
  std::filesystem::rename(folder / "moved", run.router());
  history.require_linked();
}

TEST_F(RunHistoryTest, OtherRanksWriteNothing) {
  RunHistory history(run, deck.config, 0, false);
  history.append(1, pretrain(), 1, {}, {});
  append_router(history, 17, small_state(deck.config));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

}  // namespace
}  // namespace elastic::test
