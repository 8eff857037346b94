// SPDX-License-Identifier: Apache-2.0
// Time and memory of a save: shares of the ranks, what bounds the writing, what the plan says.
#include "plan/saves.hpp"

#include <gmock/gmock.h>

#include "plan/run_plan.hpp"
#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(PlanSaves, RanksShareTheFileUntilTheFileSystemIsTheLimit) {
  Machine machine = machine_for_tests();  // 2e8 B/s a rank
  machine.total_file_bandwidth = 1e9;
  machine.copy_bandwidth = 4e9;
  const SavePlan one = plan_save(8e9, 1, machine), four = plan_save(8e9, 4, machine),
                 many = plan_save(8e9, 1000, machine);
  EXPECT_EQ(one.bytes_of_rank, 8e9);
  EXPECT_DOUBLE_EQ(one.copy_seconds, 2);
  EXPECT_DOUBLE_EQ(one.write_seconds, 80);  // and as much read back
  EXPECT_DOUBLE_EQ(four.copy_seconds, 0.5);
  EXPECT_DOUBLE_EQ(four.write_seconds, 20);
  EXPECT_DOUBLE_EQ(many.write_seconds, 16);
  EXPECT_DOUBLE_EQ(four.delay(true), 0.5);
  EXPECT_DOUBLE_EQ(four.delay(false), 20.5);
}

TEST(PlanSaves, RatesMayBeLeftOut) {
  const Machine machine = machine_for_tests(), none = unknown_file_system();
  EXPECT_EQ(machine.total_file_bandwidth, none.total_file_bandwidth);
  EXPECT_EQ(machine.copy_bandwidth, none.copy_bandwidth);
  EXPECT_EQ(none.file_bandwidth, 2e8);
  const Machine given =
      read_machine(example_machine + "total_bandwidth = 3e9\ncopy_bandwidth = 5e9\n", "m.in");
  EXPECT_EQ(given.total_file_bandwidth, 3e9);
  EXPECT_EQ(given.copy_bandwidth, 5e9);
  const Machine again = read_machine(machine_text(given), "again.in");
  EXPECT_EQ(again.total_file_bandwidth, 3e9);
  EXPECT_EQ(again.copy_bandwidth, 5e9);
}

TEST(PlanSaves, MemoryIsTheShareAndBuffers) {
  constexpr double mib = 1 << 20;
  const auto expect = [](const SaveMemory& memory, double copy, double buffers) {
    EXPECT_EQ(memory.copy, copy * mib);
    EXPECT_EQ(memory.buffers, buffers * mib);
  };
  expect(save_memory(600 * mib, 100 * mib, 1), 600, 8);  // to read back
  expect(save_memory(600 * mib, 100 * mib, 2), 300 + 4, 16 + 8);
  expect(save_memory(6 * mib, 1 * mib, 2), 3 + 0.5, 6 + 1);
}

TEST(PlanSaves, ThePlanSaysWhatACheckpointTakes) {
  const ResolvedDeck deck = small_deck(), waiting = small_deck({"checkpoint/asynchronous=false"}),
                     none = small_deck({"checkpoint/save=false"});
  EXPECT_THAT(run_plan(deck, 1024, nullptr), HasSubstr("each of 1024 ranks writes"));
  EXPECT_THAT(run_plan(deck, 1024, nullptr), HasSubstr("assumed"));
  EXPECT_THAT(run_plan(deck, 1, nullptr), HasSubstr("one rank writes"));
  EXPECT_THAT(run_plan(deck, 1, nullptr), HasSubstr("for its copy"));
  EXPECT_THAT(run_plan(waiting, 1, nullptr), HasSubstr("of it for the copy"));
  EXPECT_THAT(run_plan(none, 1, nullptr), testing::Not(HasSubstr("writes")));
  const Machine machine = machine_for_tests();
  EXPECT_THAT(run_plan(deck, 4, &machine), HasSubstr("200.00 MB/s a rank"));
}

}  // namespace
}  // namespace elastic::test
