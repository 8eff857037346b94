// SPDX-License-Identifier: Apache-2.0
// What --check prints: every part of the plan, and the published models with the paper's numbers.
#include "plan/run_plan.hpp"

#include <gmock/gmock.h>

#include "deck/parser.hpp"
#include "elastic/cost_model.hpp"
#include "plan/budgets.hpp"
#include "plan/comparison.hpp"
#include "plan/memory.hpp"
#include "plan/recomputation.hpp"
#include "unit_tests/train/small_run.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(RunPlan, SaysItAll) {
  const ResolvedDeck deck = small_deck();
  const std::string text = run_plan(deck, 4);
  for (const char* part : {"plan of small.in on 4 ranks", "M-*M-: 5 layers", "Mamba", "attention",
                           "MLP", "budget large", "budget middle", "budget small", "stage1",
                           "weights", "gradients", "moments", "teacher", "router", "logits",
                           "FLOP per step", "ring over 4 ranks", "a checkpoint", "tokens"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("none: one rank"));
}

TEST(RunPlan, FilesThatTheRunWillNeed) {
  const ResolvedDeck deck =
      small_deck({"data/source=indexed", "data/train=a,b", "data/vocab_size=100",
                  "job/phases=rank,elastic", "job/parent=missing/parent.h5"});
  EXPECT_THAT(needed_files(deck.config),
              testing::ElementsAre("missing/parent.h5", "a.bin", "a.idx", "b.bin", "b.idx"));
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("missing/parent.h5: not there yet"));
  EXPECT_THAT(needed_files(small_deck().config), testing::IsEmpty());
}

TEST(RunPlan, AStoredTeacher) {
  const std::vector<std::string> stored = {"stage1/teacher=stored", "teach/top_k=8",
                                           "teach/folder=/missing/teacher"};
  auto writes = stored, reads = stored;
  writes.emplace_back("job/phases=pretrain,rank,teach,elastic");
  reads.emplace_back("job/phases=pretrain,rank,elastic");
  const std::string text = run_plan(small_deck(writes), 1);
  // 4 steps of 4 sequences of 64 tokens; 2 + 8 (2 + 2) bytes per token.
  for (const char* part : {"stage1: 16 sequences of 64 tokens, 8 words each: 36.10 kB in "
                           "/missing/teacher/stage1.teacher, to be written",
                           "the phase teach: ", "no copy of the parent",
                           "that a stored teacher says", "stored teacher"})
    EXPECT_THAT(text, HasSubstr(part));
  const std::string message = message_of<InputError>([&] { run_plan(small_deck(reads), 1); });
  EXPECT_THAT(message, HasSubstr("/missing/teacher/stage1.teacher: is missing; "
                                 "<stage1>/teacher = stored reads it"));
}

/// The deck input/NAME.
ResolvedDeck input_deck(const std::string& name, const std::vector<std::string>& overrides = {}) {
  const std::string path = (source_folder() / "input" / name).string();
  return read_run_config(read_deck_file(path), path, overrides);
}

TEST(RunPlan, TheTwelveBillionModel) {
  const ResolvedDeck deck = input_deck("nano12b.in");
  const RunConfig& config = deck.config;
  const ModelShape shape = parent_shape(config);
  const PlanBudgets plan = plan_budgets(config, shape, elastic_space(config, shape));
  EXPECT_EQ(plan.ranges.at(0).full, 12310001152.0);
  EXPECT_EQ(shape.num_layers(), 62);
  const std::vector<double> budgets = {1, 0.75, 0.5};
  ASSERT_EQ(plan.budgets.size(), budgets.size());
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    EXPECT_FALSE(plan.budgets[b].homogeneous.empty()) << b;
    for (const auto& spec : plan.budgets[b].homogeneous)
      EXPECT_NEAR(parameter_count(shape, expected_widths(spec)) / (budgets[b] * 12310001152.0), 1,
                  0.01);
  }
  const PlanComparison c = plan_comparison(config, plan.ranges.at(0).full);
  EXPECT_NEAR(c.elastic_tokens, 110e9, 0.1e9);
  EXPECT_EQ(c.pretrain_tokens, 40e12);
  EXPECT_EQ(c.compress_tokens, 750e9);
  EXPECT_NEAR(c.compress_tokens / c.elastic_tokens, 7, 0.5);  // as the paper rounds it
  EXPECT_NEAR(c.pretrain_tokens / c.elastic_tokens, 360, 5);
  EXPECT_NEAR(c.nested_bytes, 24.6e9, 0.05e9);
  EXPECT_NEAR(c.separate_bytes, 42.4e9, 0.05e9);
  const std::string text = run_plan(deck, 2);  // moments are shared among the ranks
  for (const char* part :
       {"62 layers", "12,310,001,152 parameters", "budget 9B       0.7500",
        "budget 6B       0.5014", "49.24 GB weights + 49.24 GB gradients + 49.24 GB moments",
        "49.24 GB teacher", "GB activations", "backward of a layer", "EFLOP) per step",
        "ZFLOP in all", "a ring over 2 ranks sends 49.24 GB from each", "in all 6955 steps",
        "a checkpoint 147.73 GB", "this run: 110.02 Gtokens", "363.6 x this run", "6.8 x this run",
        "24.62 GB for all 3 models in one, 42.40 GB for separate models"})
    EXPECT_THAT(text, HasSubstr(part));
}

/// Values 2, gradients 4, teacher 2, and 12 for moments and masters shared among R owners; what
/// gradients travel through, and the router, stay below the 2 that are left.
TEST(RunPlan, TheTwelveBillionModelTakesEightBytesPerParameterInBfloat16) {
  const RunConfig config = input_deck("nano12b.in", {"precision/compute=bfloat16"}).config;
  const ModelShape shape = parent_shape(config);
  const double count = parameter_count(shape);
  for (const int owners : {1, 2, 8, 512}) {
    const PlanMemory plan = plan_memory(config, shape, router_size(config, shape), owners);
    EXPECT_EQ(plan.weights, 2 * count);
    EXPECT_EQ(plan.gradients, 4 * count);
    EXPECT_EQ(plan.teacher, 2 * count);
    EXPECT_NEAR((plan.moments + plan.masters) / count, 12.0 / owners, 0.05) << owners;
    EXPECT_LE(plan.state() / count, 8 + 12.0 / owners + 2) << owners;
  }
}

TEST(RunPlan, TheNineBillionModelAndItsFourBillionSubmodel) {
  const RunConfig config = input_deck("nano9b_to_4b.in").config;
  const ModelShape shape = parent_shape(config);
  const PlanBudgets plan = plan_budgets(config, shape, elastic_space(config, shape));
  EXPECT_EQ(plan.ranges.at(0).full, 8888227328.0);
  const auto& small = plan.budgets.at(1).homogeneous.at(0);
  EXPECT_EQ(small.hidden_size, 3136);
  EXPECT_EQ(sliced_shape(shape, small).num_layers(), 42);
  EXPECT_NEAR(parameter_count(shape, expected_widths(small)), 3973556832.0, 0.001 * 3973556832.0);
}

}  // namespace
}  // namespace elastic::test
