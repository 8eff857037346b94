// SPDX-License-Identifier: Apache-2.0
// What is left of a job, and the last step that fits into it.
#include "run/wall_time.hpp"

#include <gtest/gtest.h>

#include <ctime>

#include "batch_job.hpp"

namespace elastic::test {
namespace {

double g_now = 0;
double clock() { return g_now; }

TEST(WallTime, GivenTimeCountsFromTheStartOfTheProgram) {
  const double left = wall_time_left("10").value();
  EXPECT_LT(left, 600);
  EXPECT_GT(left, 500);
}

TEST(WallTime, GivenTimeComesBeforeThatOfTheJob) {
  const Environment none(no_job());
  EXPECT_FALSE(wall_time_left(""));
  const Environment job(
      {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + 1000)}});
  EXPECT_NEAR(wall_time_left("").value(), 1000, 3);
  EXPECT_LT(wall_time_left("5").value(), 300);
}

TEST(WallTime, WithoutLimitEveryStepFits) {
  WallTime time;
  EXPECT_TRUE(time.another_step_fits());
}

// 100 s, of which 5 are kept for the end; a checkpoint is taken to need 20 until one is saved.
TEST(WallTime, SlowestStepAndLastCheckpointMustFit) {
  g_now = 1000;
  WallTime time(100, 20, clock);
  g_now += 30;  // the slowest step
  EXPECT_TRUE(time.another_step_fits());
  g_now += 10;
  EXPECT_TRUE(time.another_step_fits());
  g_now += 4;  // 56 left, 30 + 20 + 5 needed
  EXPECT_TRUE(time.another_step_fits());
  EXPECT_FALSE(time.another_step_fits(2));  // two checkpoints: 75 s needed
  EXPECT_TRUE(time.another_step_fits(0));
  g_now += 2;  // 54 left
  EXPECT_FALSE(time.another_step_fits());
}

TEST(WallTime, TimeOfSavingIsNoTimeOfAStep) {
  g_now = 0;
  WallTime time(100, 20, clock);
  g_now = 10;
  EXPECT_TRUE(time.another_step_fits());
  time.saved(40);
  g_now = 52;  // a step of 2 s and a checkpoint of 40 s; 48 left, 10 + 40 + 5 needed
  EXPECT_FALSE(time.another_step_fits());
  time.saved(3);
  g_now = 57;  // 43 left, 10 + 3 + 5 needed
  EXPECT_TRUE(time.another_step_fits());
}

TEST(WallTime, MarginIsAtMostAMinute) {
  g_now = 0;
  WallTime time(100000, 0, clock);
  time.saved(99935);  // nearly all of it passes while saving
  time.saved(0);
  g_now = 99936;  // 64 left, 1 + 0 + 60 needed
  EXPECT_TRUE(time.another_step_fits());
  g_now += 1;
  EXPECT_TRUE(time.another_step_fits());
  g_now += 1;
  EXPECT_TRUE(time.another_step_fits());
  g_now += 1;  // 61 left
  EXPECT_FALSE(time.another_step_fits());
}

TEST(WallTime, NothingLeftMeansStop) {
  g_now = 0;
  WallTime time(-3, 0, clock);
  EXPECT_FALSE(time.another_step_fits());
}

}  // namespace
}  // namespace elastic::test
