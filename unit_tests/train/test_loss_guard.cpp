// SPDX-License-Identifier: Apache-2.0
// Policies of steps that are not to be trusted: what is a spike, what each policy does, how often,
// which data is left out, and that a guard read from a text goes on as the one that wrote it.
#include "train/loss_guard.hpp"

#include <gmock/gmock.h>

namespace elastic::test {
namespace {
using testing::HasSubstr;

GuardedStep at(index_t local_step, std::uint64_t stream = 7) {
  return {.step = 100 + local_step, .stage = "stage1", .stream = stream, .local_step = local_step};
}
GuardConfig config(GuardPolicy policy, index_t limit = 2) {
  return {.policy = policy, .spike_factor = 2, .spike_window = 6, .limit = limit};
}
template <class Thrown, class Work>
std::string message(const Work& work) {
  try {
    work();
  } catch (const Thrown& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(LossGuard, ASpikeIsAboveTheMedianOfTheLastLosses) {
  LossGuard guard(config(GuardPolicy::stop));
  EXPECT_TRUE(guard.watches_spikes());
  for (const double loss : {9.0, 1.0, 3.0, 2.0}) {
    EXPECT_EQ(guard.spike(at(1), 1e6), "");  // too few to compare with
    guard.remember(at(1), loss);
  }
  guard.remember(at(2), 4);  // 1 2 3 4 9: 3
  EXPECT_EQ(guard.spike(at(3), 6), "");
  EXPECT_EQ(guard.spike(at(3), 6.5),
            "loss 6.5: a spike, above 2 times the median 3 of the last 5 losses");
  guard.remember(at(4), 5);
  guard.remember(at(5), 5);  // the first has left: 1 2 3 4 5 5: 3.5
  EXPECT_EQ(guard.spike(at(6), 7), "");
  EXPECT_THAT(guard.spike(at(6), 7.1), HasSubstr("median 3.5 of the last 6"));
  EXPECT_EQ(guard.spike(at(1, /*stream=*/8), 1e6), "");  // losses of another stage
}

TEST(LossGuard, WithoutAFactorOnlyWhatIsNotFiniteCounts) {
  LossGuard guard{GuardConfig{}};
  EXPECT_FALSE(guard.watches_spikes());
  for (int i = 0; i < 60; ++i) guard.remember(at(i), 1);
  EXPECT_EQ(guard.spike(at(60), 1e30), "");
}

TEST(LossGuard, StopsWithStepAndStage) {
  LossGuard guard(config(GuardPolicy::stop));
  EXPECT_EQ(message<NumericsError>([&] { guard.refuse(at(3), "loss nan"); }),
            "step 103 (stage1): loss nan");
  EXPECT_THROW(guard.refuse_update(at(3), "values"), NumericsError);
  EXPECT_EQ(guard.events(), 0);
}

TEST(LossGuard, SkipsUpToTheLimit) {
  LossGuard guard(config(GuardPolicy::skip));
  EXPECT_NO_THROW(guard.refuse(at(3), "loss nan"));
  EXPECT_NO_THROW(guard.refuse(at(9), "loss nan"));
  EXPECT_EQ(guard.events(), 2);
  EXPECT_EQ(guard.data_block(7, 4), 3);  // all data counts
  EXPECT_EQ(message<NumericsError>([&] { guard.refuse(at(12), "loss nan"); }),
            "step 112 (stage1): loss nan; 2 steps were skipped or undone already (guard/limit)");
}

TEST(LossGuard, AnUpdateCannotBeSkipped) {
  LossGuard guard(config(GuardPolicy::skip));
  EXPECT_THROW(guard.refuse_update(at(3), "values"), NumericsError);
}

TEST(LossGuard, RollsBackAndLeavesOutTheData) {
  LossGuard guard(config(GuardPolicy::rollback));
  EXPECT_EQ(message<RollBack>([&] { guard.refuse(at(3), "loss nan"); }),
            "step 103 (stage1): loss nan");
  const auto blocks = [&](std::uint64_t stream) {
    std::vector<index_t> list;
    for (index_t step = 1; step <= 5; ++step) list.push_back(guard.data_block(stream, step));
    return list;
  };
  EXPECT_EQ(blocks(7), (std::vector<index_t>{0, 1, 3, 4, 5}));
  EXPECT_EQ(blocks(8), (std::vector<index_t>{0, 1, 2, 3, 4}));
  EXPECT_THROW(guard.refuse_update(at(3), "again: block 3 now"), RollBack);
  EXPECT_EQ(blocks(7), (std::vector<index_t>{0, 1, 4, 5, 6}));
  EXPECT_THROW(guard.refuse(at(1), "once too often"), NumericsError);
}

TEST(LossGuard, GoesOnFromItsText) {
  LossGuard guard(config(GuardPolicy::rollback)), read(config(GuardPolicy::rollback));
  for (const double loss : {1.0 / 3, 0.1, 2.0 / 3, 0.7, 5e-324, 1.0}) guard.remember(at(2), loss);
  EXPECT_THROW(guard.refuse(at(3), "loss nan"), RollBack);
  read.from_text(guard.to_text(), "file");
  EXPECT_EQ(read.to_text(), guard.to_text());
  EXPECT_EQ(read.data_block(7, 3), 3);
  EXPECT_EQ(read.events(), 1);
  EXPECT_EQ(read.spike(at(4), 99), guard.spike(at(4), 99));
}

TEST(LossGuard, GoingBackKeepsEventsAndDataButNotLosses) {
  LossGuard earlier(config(GuardPolicy::rollback));
  for (int i = 0; i < 5; ++i) earlier.remember(at(1), 1);
  LossGuard later = earlier;
  for (int i = 0; i < 6; ++i) later.remember(at(2), 100);
  EXPECT_THROW(later.refuse(at(3), "loss nan"), RollBack);
  earlier.keep_events_of(later);
  EXPECT_EQ(earlier.events(), 1);
  EXPECT_EQ(earlier.data_block(7, 3), 3);
  EXPECT_THAT(earlier.spike(at(3), 3), HasSubstr("median 1 "));
}

TEST(LossGuard, OtherTextsAreRefused) {
  LossGuard guard(config(GuardPolicy::skip));
  for (const char* text : {"", "{}", "[1]", R"({"events":-1,"left_out":[],"losses":[],"stream":0})",
                           R"({"events":1,"left_out":[[7]],"losses":[],"stream":0})",
                           R"({"events":1,"left_out":[[7,-2]],"losses":[],"stream":0})"})
    EXPECT_THROW(guard.from_text(text, "file"), InputError) << text;
}

}  // namespace
}  // namespace elastic::test
