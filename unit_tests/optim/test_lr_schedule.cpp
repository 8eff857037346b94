// SPDX-License-Identifier: Apache-2.0
// Values of the learning-rate schedules at hand-computed points.
#include "optim/lr_schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"

namespace elastic::test {
namespace {

TEST(LrSchedule, WarmsUpLinearlyToThePeak) {
  for (const LrKind kind : {LrKind::constant, LrKind::cosine, LrKind::linear, LrKind::wsd}) {
    const LrSchedule schedule{.kind = kind, .peak = 0.4, .warmup_steps = 4, .total_steps = 100};
    for (index_t step = 1; step <= 4; ++step) EXPECT_DOUBLE_EQ(schedule.at(step), 0.1 * step);
    EXPECT_LE(schedule.at(5), 0.4);
  }
}

TEST(LrSchedule, ConstantStays) {
  const LrSchedule schedule{.kind = LrKind::constant, .peak = 0.3, .total_steps = 10};
  EXPECT_EQ(schedule.at(1), 0.3);
  EXPECT_EQ(schedule.at(1000), 0.3);
}

TEST(LrSchedule, LinearFallsToTheFinalFraction) {
  const LrSchedule schedule{.kind = LrKind::linear,
                            .peak = 2,
                            .warmup_steps = 10,
                            .final_fraction = 0.5,
                            .total_steps = 110};
  EXPECT_DOUBLE_EQ(schedule.at(35), 2 * 0.875);
  EXPECT_DOUBLE_EQ(schedule.at(60), 2 * 0.75);
  EXPECT_DOUBLE_EQ(schedule.at(110), 1);
  EXPECT_DOUBLE_EQ(schedule.at(500), 1);
}

TEST(LrSchedule, CosineFallsToTheFinalFraction) {
  const LrSchedule schedule{.kind = LrKind::cosine,
                            .peak = 1e-4,
                            .warmup_steps = 30,
                            .final_fraction = 0.1,
                            .total_steps = 150};
  EXPECT_DOUBLE_EQ(schedule.at(70), 1e-4 * (0.1 + 0.9 * 0.75));  // cos(pi/3) = 1/2
  EXPECT_DOUBLE_EQ(schedule.at(90), 1e-4 * 0.55);
  EXPECT_DOUBLE_EQ(schedule.at(150), 1e-5);
  EXPECT_DOUBLE_EQ(schedule.at(151), 1e-5);
}

TEST(LrSchedule, WsdIsFlatThenFallsWithTheSquareRoot) {
  const LrSchedule schedule{.kind = LrKind::wsd,
                            .peak = 1,
                            .warmup_steps = 5,
                            .final_fraction = 0.2,
                            .total_steps = 100,
                            .decay_fraction = 0.16};
  EXPECT_EQ(schedule.at(6), 1);
  EXPECT_EQ(schedule.at(84), 1);
  EXPECT_DOUBLE_EQ(schedule.at(88), 0.2 + 0.8 * 0.5);  // a quarter of 16 steps: 1 - sqrt(1/4)
  EXPECT_DOUBLE_EQ(schedule.at(100), 0.2);
}

TEST(LrSchedule, NeverRisesAfterWarmUp) {
  for (const LrKind kind : {LrKind::cosine, LrKind::linear, LrKind::wsd}) {
    const LrSchedule schedule{.kind = kind, .peak = 1, .warmup_steps = 7, .total_steps = 50};
    for (index_t step = 7; step < 60; ++step) EXPECT_GE(schedule.at(step), schedule.at(step + 1));
  }
}

TEST(LrSchedule, SurvivesDegenerateLengths) {
  const LrSchedule all_warmup{
      .kind = LrKind::cosine, .peak = 1, .warmup_steps = 3, .total_steps = 3};
  EXPECT_EQ(all_warmup.at(3), 1);
  EXPECT_DOUBLE_EQ(all_warmup.at(4), 0.1);
  const LrSchedule one_step{.kind = LrKind::linear, .peak = 1, .total_steps = 1};
  EXPECT_DOUBLE_EQ(one_step.at(1), 0.1);
  EXPECT_THROW(one_step.at(0), ContractError);
}

}  // namespace
}  // namespace elastic::test
