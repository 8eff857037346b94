// SPDX-License-Identifier: Apache-2.0
// The precision of a run whose deck names none: one rule, whose facts are the same on all ranks.
#include "plan/precision.hpp"

#include <gmock/gmock.h>

#include "plan/run_plan.hpp"
#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::Not;

PrecisionConfig choice(RankArithmetic arithmetic, index_t width = 128, bool deterministic = false) {
  RunConfig config;
  config.model.hidden_size = width;
  config.job.deterministic = deterministic;
  return choose_precision(config, arithmetic);
}

TEST(Precision, IsBfloat16WhereAllRanksMultiplyItFasterAndTheModelIsWide) {
  EXPECT_EQ(choice({1, 1}).compute, Precision::bfloat16);
  EXPECT_EQ(choice({4, 4}, 5120).compute, Precision::bfloat16);
  EXPECT_THAT(choice({4, 4}, 5120).reason, HasSubstr("hidden_size 5120 is at least 128"));
}

TEST(Precision, IsFloat32ElsewhereAndSaysWhy) {
  const auto float32 = [](const PrecisionConfig& given, const char* why) {
    EXPECT_EQ(given.compute, Precision::float32) << why;
    EXPECT_THAT(given.reason, HasSubstr(why));
  };
  float32(choice({2, 0}), "no rank");
  float32(choice({4, 3}), "only 3 of 4 ranks");
  float32(choice({2, 2}, 127), "hidden_size 127 is less than 128");
  float32(choice({2, 2}, 128, true), "<job>/deterministic");
}

/// A login node plans for other nodes: its own processor must not matter.
TEST(Precision, OnAMachineOfAFileIsThatOfItsRates) {
  RunConfig config;
  config.model.hidden_size = 128;
  Machine machine = read_machine(example_machine, "a.in");
  EXPECT_EQ(choose_precision(config, machine).compute, Precision::float32);
  EXPECT_THAT(choose_precision(config, machine).reason, HasSubstr("a.in has rates of float32"));
  machine.rank.precision = Precision::bfloat16;
  EXPECT_EQ(choose_precision(config, machine).compute, Precision::bfloat16);
  config.model.hidden_size = 127;
  EXPECT_EQ(choose_precision(config, machine).compute, Precision::float32);
}

TEST(Precision, APlanSaysWhereRatesAreOfAnother) {
  const Machine machine = read_machine(example_machine, "a.in");
  const auto plan = [&](const char* precision) {
    return run_plan(read_run_config(small_deck_text, "small.in",
                                    {std::string("precision/compute=") + precision}),
                    1, &machine);
  };
  EXPECT_THAT(plan("bfloat16"), HasSubstr("times are of float32"));
  EXPECT_THAT(plan("bfloat16"), Not(HasSubstr("this machine")));
  EXPECT_THAT(plan("float32"), Not(HasSubstr("times are of float32")));
}

TEST(Precision, OfADeckIsReplacedOnlyWhereItIsAutomatic) {
  const PrecisionConfig given{Precision::bfloat16, "a reason of the test"};
  const auto read = [&](const std::vector<std::string>& overrides) {
    return read_run_config(small_deck_text, "small.in", overrides, given);
  };
  const ResolvedDeck deck = read({}), told = read({"precision/compute=float32"});
  EXPECT_EQ(deck.config.precision.compute, Precision::bfloat16);
  EXPECT_THAT(deck.text, HasSubstr("compute = bfloat16"));
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("a reason of the test"));
  EXPECT_EQ(told.config.precision.compute, Precision::float32);
  EXPECT_EQ(told.config.precision.reason, "");
  EXPECT_THAT(told.text, HasSubstr("compute = float32"));
  EXPECT_NE(deck.hash, told.hash);
}

}  // namespace
}  // namespace elastic::test
