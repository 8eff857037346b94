// SPDX-License-Identifier: Apache-2.0
// The phase measure on a small model: every part is timed, widths cost, and the terms say roughly
// what whole submodels take. How exactly depends on what else the machine does; figures are in
// doc/measured_budgets.md.
#include "run/measure_times.hpp"

#include "config/seconds_budget.hpp"
#include "config/times_text.hpp"
#include "elastic/cost_model.hpp"
#include "run/seconds_table.hpp"
#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class MeasureTimes : public StoredRun {
 protected:
  ResolvedDeck deck_of(const std::string& pass) {
    return small_deck({"elastic/budget_kind=seconds", "elastic/seconds_seq_length=64",
                       "elastic/seconds_pass=" + pass, "elastic/seconds_batch=2",
                       "job/phases=pretrain,rank,measure,elastic,slice,evaluate,report"});
  }
};

TEST_F(MeasureTimes, TimesOfEveryPartPredictThoseOfTheWhole) {
  const Communicator self = Communicator::self();
  Arena arena;
  for (const char* pass : {"prefill", "decode"}) {
    RunConfig config = deck_of(pass).config;
    const auto& parent = *state->model;
    const ModelShape& shape = parent.shape();
    const MeasuredTimes times = measure_times(self, config, parent, arena);
    EXPECT_EQ(times.pass, pass);
    EXPECT_EQ(times.least_hidden, 12);
    ASSERT_EQ(times.layers.size(), 3u) << "M, - and *";
    EXPECT_EQ(times.layers[0].least_width, 2);
    EXPECT_EQ(times.layers[0].least_channels, 6);
    EXPECT_GT(times.ends.seconds({.hidden = 24}), 0);
    for (const auto& layer : times.layers)
      EXPECT_GT(layer.law.seconds({.hidden = 24, .width = 4, .inner = 32}), 0);
    contains(describe(times), "per token: ends ");
    give_times(config, to_json(times), "times");
    const auto& seconds = config.elastic.loss.costs.at(0);
    SubmodelSpec small = full_spec(shape);
    small.layers[0].keep = small.layers[1].keep = false;
    const auto measured = measure_submodels(self, config, parent, arena, {full_spec(shape), small});
    EXPECT_LT(measured[1], measured[0]);
    const double predicted = cost(shape, full_spec(shape), seconds);
    EXPECT_GT(predicted, 0.4 * measured[0]);
    EXPECT_LT(predicted, 2.5 * measured[0]);
  }
}

TEST(SecondsTable, SaysWhatWasPredictedAndMeasured) {
  const RunConfig config = small_deck().config;
  RunResults results;
  ReportDocument empty("run");
  add_seconds(empty, config, results);
  EXPECT_EQ(empty.markdown().find("Time of inference"), std::string::npos);
  EXPECT_EQ(seconds_line(results), "");
  for (const double measured : {2.0e-6, 1.0e-6}) {
    auto& budget = results.budgets.emplace_back();
    budget.spec.name = measured > 1.5e-6 ? "1" : "0.5";
    budget.costs = {{BudgetKind::seconds, 1.05e-6, 0.525, measured, measured / 2e-6}};
  }
  ReportDocument report("run");
  add_seconds(report, config, results);
  contains(report.markdown(), "| 0.5 | 1.05 us | 1.00 us | +5.0% | 0.525 | 0.500 |");
  contains(seconds_line(results), "at most -47.5%");
}

}  // namespace
}  // namespace elastic::test
