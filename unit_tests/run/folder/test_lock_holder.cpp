// SPDX-License-Identifier: Apache-2.0
// Whether the process that holds a run folder is still there: "ended" only where that is certain.
#include "run/folder/lock_holder.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

const LockHolder me{.host = "a",
                    .boot = "boot-a",
                    .pid_namespace = "pid:[1]",
                    .process = 100,
                    .process_start = 7,
                    .flocked = true,
                    .user = 1,
                    .slurm_cluster = "big",
                    .slurm_job = "5",
                    .slurm_restart = 1,
                    .time = "now"};

/// A machine on which process 50 has run since 3, under a Slurm that runs these jobs.
MachineView machine(std::optional<std::set<std::string>> jobs = std::nullopt) {
  return {
      .start_of =
          [](index_t process) { return process == 50 ? std::optional<index_t>(3) : std::nullopt; },
      .slurm_jobs = [jobs] { return jobs; }};
}

LockHolder holder(index_t process, index_t start) {
  LockHolder other = me;
  other.process = process;
  other.process_start = start;
  other.flocked = false;
  other.slurm_job.clear();
  return other;
}

TEST(LockHolder, TextAndBack) {
  EXPECT_EQ(read_lock_holder(to_text(me), "run.lock"), me);
  EXPECT_EQ(read_lock_holder(to_text(LockHolder()), "run.lock"), LockHolder());
  contains(message_of<InputError>([] { read_lock_holder("host = a\n", "run.lock"); }), "run.lock");
  auto text = to_text(me);
  text.replace(text.find("process = 100"), 13, "process = 1o0");
  contains(message_of<InputError>([&] { read_lock_holder(text, "run.lock"); }),
           "expected an integer");
}

TEST(LockHolder, ThisProcessRuns) {
  LockHolder here = this_process();
  EXPECT_EQ(here.process, ::getpid());
  EXPECT_GT(here.process_start, 0);
  EXPECT_FALSE(here.boot.empty());
  contains(describe(here), fmt::format("process {} on host {} since 20", here.process, here.host));
  EXPECT_EQ(state_of(here, here, true, this_machine()), HolderState::lives);
  here.process_start += 1;  // another process had this number
  EXPECT_EQ(state_of(here, this_process(), true, this_machine()), HolderState::ended);
}

TEST(LockHolder, AChildThatWasKilledHasEndedBeforeItIsCollected) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const auto start_of = this_machine().start_of;
  EXPECT_TRUE(start_of(child));
  ::kill(child, SIGKILL);
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_FALSE(start_of(child));
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(start_of(child));
}

TEST(LockHolder, OnThisMachineTheProcessIsLookedUp) {
  EXPECT_EQ(state_of(holder(50, 3), me, true, machine()), HolderState::lives);
  EXPECT_EQ(state_of(holder(50, 4), me, true, machine()), HolderState::ended);
  EXPECT_EQ(state_of(holder(51, 3), me, true, machine()), HolderState::ended);
  // The kernel keeps its lock as long as it lives.
  LockHolder locked = holder(50, 3);
  locked.flocked = true;
  EXPECT_EQ(state_of(locked, me, true, machine()), HolderState::ended);
  EXPECT_EQ(state_of(locked, me, false, machine()), HolderState::lives);
}

TEST(LockHolder, AnotherContainerOfThisMachineIsNotKnown) {
  LockHolder other = holder(51, 3);
  other.pid_namespace = "pid:[2]";
  EXPECT_EQ(state_of(other, me, true, machine()), HolderState::not_known);
  other.flocked = true;
  EXPECT_EQ(state_of(other, me, true, machine()), HolderState::ended);
}

TEST(LockHolder, AMachineStartedAnewHasNoProcessesOfBefore) {
  LockHolder before = holder(50, 3);
  before.boot = "earlier";
  EXPECT_EQ(state_of(before, me, true, machine()), HolderState::ended);
  before.boot.clear();
  EXPECT_EQ(state_of(before, me, true, machine()), HolderState::not_known);
}

LockHolder elsewhere(const std::string& job, index_t restart) {
  return {.host = "b",
          .boot = "boot-b",
          .pid_namespace = me.pid_namespace,
          .process = 50,
          .process_start = 3,
          .flocked = true,
          .user = me.user,
          .slurm_cluster = me.slurm_cluster,
          .slurm_job = job,
          .slurm_restart = restart,
          .time = me.time};
}

TEST(LockHolder, NothingIsKnownOfAnotherMachine) {
  EXPECT_EQ(state_of(elsewhere("", 0), me, true, machine()), HolderState::not_known);
}

TEST(LockHolder, ARequeuedJobHasEndedWhereItRanBefore) {
  EXPECT_EQ(state_of(elsewhere("5", 0), me, true, machine()), HolderState::ended);
  EXPECT_EQ(state_of(elsewhere("5", 1), me, true, machine()), HolderState::not_known);
  auto other_cluster = elsewhere("5", 0);
  other_cluster.slurm_cluster = "small";
  EXPECT_EQ(state_of(other_cluster, me, true, machine()), HolderState::not_known);
}

TEST(LockHolder, SlurmKnowsWhichJobsRun) {
  const auto jobs = machine(std::set<std::string>{"5", "6"});
  EXPECT_EQ(state_of(elsewhere("4", 0), me, true, jobs), HolderState::ended);
  EXPECT_EQ(state_of(elsewhere("6", 0), me, true, jobs), HolderState::not_known);
  EXPECT_EQ(state_of(elsewhere("4", 0), me, true, machine()), HolderState::not_known);
  auto of_another = elsewhere("4", 0);
  of_another.user = 2;  // whose jobs may be hidden
  EXPECT_EQ(state_of(of_another, me, true, jobs), HolderState::not_known);
}

}  // namespace
}  // namespace elastic::test
