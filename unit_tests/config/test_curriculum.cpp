// SPDX-License-Identifier: Apache-2.0
// Stages on one count of steps: borders, tokens, learning rates, router progress.
#include "config/curriculum.hpp"

#include <gmock/gmock.h>

namespace elastic::test {
namespace {

const char* deck =
    "<pretrain>\nsteps = 10\nseq_length = 16\nglobal_batch_size = 8\n"
    "<stage1>\nsteps = 6\nseq_length = 32\nglobal_batch_size = 8\nlearning_rate = 1e-2\n"
    "warmup_steps = 2\ndecay = linear\nfinal_fraction = 0.5\nrouter_learning_rate = 1e-1\n"
    "<stage2>\ntokens = 1000\nseq_length = 64\nglobal_batch_size = 8\n";

RunConfig config_of(const std::vector<std::string>& overrides = {}) {
  return read_run_config(deck, "toy.in", overrides).config;
}

TEST(Curriculum, StagesFollowEachOther) {
  const Curriculum plan = make_curriculum(config_of());
  ASSERT_EQ(plan.stages.size(), 3u);
  EXPECT_EQ(plan.total_steps, 18);  // 10 + 6 + ceil(1000 / 512)
  EXPECT_EQ(plan.elastic_begin, 10);
  EXPECT_EQ(plan.elastic_steps(), 8);
  EXPECT_FALSE(plan.stages[0].elastic);
  EXPECT_TRUE(plan.stages[1].elastic);
  EXPECT_EQ(plan.stage_of(1).config.name, "pretrain");
  EXPECT_EQ(plan.stage_of(10).config.name, "pretrain");
  EXPECT_EQ(plan.stage_of(11).config.name, "stage1");
  EXPECT_EQ(plan.stage_of(16).config.name, "stage1");
  EXPECT_EQ(plan.stage_of(18).config.name, "stage2");
  EXPECT_THROW(plan.stage_of(19), ContractError);
}

TEST(Curriculum, NoTwoStagesShareAStream) {
  const Curriculum plan = make_curriculum(config_of());
  EXPECT_NE(plan.stages[0].stream, plan.stages[1].stream);
  EXPECT_NE(plan.stages[1].stream, plan.stages[2].stream);
  EXPECT_NE(plan.stages[0].stream, plan.stages[2].stream);
}

TEST(Curriculum, CountsTokens) {
  const Curriculum plan = make_curriculum(config_of());
  EXPECT_EQ(plan.tokens_after(0), 0);
  EXPECT_EQ(plan.tokens_after(3), 3 * 128);
  EXPECT_EQ(plan.tokens_after(12), 10 * 128 + 2 * 256);
  EXPECT_EQ(plan.tokens_after(18), 10 * 128 + 6 * 256 + 2 * 512);
}

TEST(Curriculum, EveryStageHasItsOwnSchedule) {
  const Stage stage = make_curriculum(config_of()).stages[1];
  EXPECT_DOUBLE_EQ(stage.learning_rate(1), 5e-3);
  EXPECT_DOUBLE_EQ(stage.learning_rate(2), 1e-2);
  EXPECT_DOUBLE_EQ(stage.learning_rate(6), 5e-3);
  for (index_t step = 1; step <= 6; ++step)
    EXPECT_NEAR(stage.router_learning_rate(step), 10 * stage.learning_rate(step), 1e-15);
  // A warm-up longer than the stage is cut to it.
  const Stage cut = make_curriculum(config_of({"stage1/warmup_steps=100"})).stages[1];
  EXPECT_DOUBLE_EQ(cut.learning_rate(6), 1e-2);
}

TEST(Curriculum, TheRouterRunsFromZeroToOne) {
  const Curriculum plan = make_curriculum(config_of());
  EXPECT_EQ(plan.router_progress(11), 0);
  EXPECT_EQ(plan.router_progress(18), 1);
  EXPECT_DOUBLE_EQ(plan.router_progress(12), 1.0 / 7);
  for (index_t step = 12; step <= 18; ++step)
    EXPECT_GT(plan.router_progress(step), plan.router_progress(step - 1));
}

TEST(Curriculum, PhasesThatAreNotListedGiveNoSteps) {
  const Curriculum parent_only = make_curriculum(config_of({"job/phases=pretrain"}));
  EXPECT_EQ(parent_only.total_steps, 10);
  EXPECT_EQ(parent_only.elastic_steps(), 0);
  const Curriculum elastic_only =
      make_curriculum(config_of({"job/phases=rank,elastic", "job/parent=parent.h5"}));
  EXPECT_EQ(elastic_only.elastic_begin, 0);
  EXPECT_EQ(elastic_only.total_steps, 8);
  EXPECT_EQ(elastic_only.router_progress(1), 0);
}

TEST(Curriculum, DescriptionNamesStagesAndBudgets) {
  const RunConfig config = config_of({"stage2/budget_probability=5,3,2"});
  const std::string text = describe(make_curriculum(config), config);
  EXPECT_THAT(text, testing::HasSubstr("pretrain"));
  EXPECT_THAT(text, testing::HasSubstr("1 x 0.50, 0.75 x 0.30, 0.5 x 0.20"));
  EXPECT_THAT(text, testing::HasSubstr("3840"));  // tokens in all
}

}  // namespace
}  // namespace elastic::test
