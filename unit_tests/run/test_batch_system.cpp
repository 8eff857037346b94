// SPDX-License-Identifier: Apache-2.0
// The time that Slurm, PBS and Flux leave a job: variables, answers, and what is no answer.
#include "run/batch_system.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <ctime>

#include "batch_job.hpp"

namespace elastic::test {
namespace {

struct Said {
  std::optional<double> left;
  std::string text;
};
/// The answer, and what is said about it, in a job with these variables.
Said ask(const std::vector<std::pair<std::string, std::string>>& job) {
  const Environment none(no_job());
  const Environment variables(job);
  testing::internal::CaptureStdout();
  Said said;
  said.left = time_left_of_the_job();
  said.text = testing::internal::GetCapturedStdout();
  return said;
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
std::string local_time(std::time_t time) {
  std::array<char, 64> text = {};
  std::tm parts = {};
  ::localtime_r(&time, &parts);
  std::strftime(text.data(), text.size(), "%a %b %e %H:%M:%S %Y", &parts);
  return text.data();
}

TEST(BatchSystem, NoJobNoLimit) {
  const Said said = ask({{"SLURM_JOB_END_TIME", "1"}});
  EXPECT_FALSE(said.left);
  EXPECT_EQ(said.text, "");
}

TEST(BatchSystem, EndOfASlurmJobInTheEnvironment) {
  const Said said = ask(
      {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + 1000)}});
  EXPECT_NEAR(said.left.value(), 1000, 3);
}

// An end that is over would mean one step, and that after every requeue.
TEST(BatchSystem, AnEndThatIsNoTimeIsNoLimit) {
  const auto now = std::time(nullptr);
  for (const std::string& text :
       {std::string("soon"), std::string("2026-11-28T12:00:00"), std::string("1e12"),
        std::string("12 "), std::string("-5"), std::string("0x7fffffff"), std::string("nan"),
        std::string("99999999999999999999"), std::to_string(now - 1000),
        std::to_string(now + 11LL * 366 * 24 * 3600)}) {
    const Said said =
        ask({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", text}, {"PATH", "/no/such/folder"}});
    EXPECT_EQ(said.left, std::nullopt) << text;
    EXPECT_TRUE(contains(said.text, "SLURM_JOB_END_TIME = " + text + " is not taken")) << said.text;
  }
}

TEST(BatchSystem, AnswersOfSqueue) {
  const FakeCommands commands;
  const auto answer = [&](const std::string& script) {
    commands.set("squeue", "[ \"$2\" = --jobs=7 ] && " + script);
    return ask({{"SLURM_JOB_ID", "7"}});
  };
  EXPECT_EQ(answer("echo 1-02:03:04").left, 93784.0);
  EXPECT_EQ(answer("echo 0:45").left, 45.0);
  for (const char* none : {"UNLIMITED", "NOT_SET"}) {
    const Said said = answer(std::string("echo ") + none);
    EXPECT_EQ(said.left, std::nullopt);
    EXPECT_FALSE(contains(said.text, "warning")) << said.text;
    EXPECT_TRUE(contains(said.text, "Slurm names no limit")) << said.text;
  }
  for (const char* odd : {"--", "1:2:3:4", "1-", ":", "12345678", "INVALID", ""}) {
    const Said said = answer(std::string("echo '") + odd + "'");
    EXPECT_EQ(said.left, std::nullopt) << odd;
    EXPECT_TRUE(contains(said.text, std::string("says '") + odd + "'; expected a time"))
        << said.text;
  }
  const Said said = answer("exit 1");
  EXPECT_EQ(said.left, std::nullopt);
  EXPECT_TRUE(contains(said.text, "no answer on job 7 of Slurm")) << said.text;
}

/// What qstat -f prints of a job; `more`: further attributes.
std::string qstat(const std::string& more) {
  return "[ \"$1 $2\" = '-f 12[3].host' ] && cat <<END\n"
         "Job Id: 12[3].host\n"
         "    Job_Name = chain\n"
         "    job_state = R\n" +
         more +
         "    Variable_List = PBS_O_HOME=/users/a,PBS_O_LANG=C,\n"
         "\tPBS_O_PATH=/usr/bin:/bin\n"
         "END\n";
}

TEST(BatchSystem, WalltimeOfPbsLessWhatIsUsed) {
  const FakeCommands commands;
  const auto answer = [&](const std::string& attributes) {
    commands.set("qstat", qstat(attributes));
    return ask({{"PBS_JOBID", "12[3].host"}});
  };
  EXPECT_EQ(answer("    Resource_List.walltime = 02:00:00\n").left, 7200.0);
  EXPECT_EQ(answer("    Resource_List.walltime = 02:00:00\n"
                   "    resources_used.walltime = 00:30:10\n")
                .left,
            5390.0);
  EXPECT_EQ(answer("    Resource_List.walltime = 120:00:00\n").left, 432000.0);
  EXPECT_EQ(answer("    Resource_List.walltime = 600\n").left, 600.0);  // seconds
  EXPECT_EQ(answer("    Resource_List.walltime = 00:10:00\n"
                   "    resources_used.walltime = 00:10:03\n")
                .left,
            0.0);
  const Said none = answer("");
  EXPECT_EQ(none.left, std::nullopt);
  EXPECT_TRUE(contains(none.text, "PBS names no limit")) << none.text;
}

// What is used is taken down every two minutes or so, and not while a job is suspended.
TEST(BatchSystem, StartOfAPbsJobIsMoreExactThanItsRecord) {
  const FakeCommands commands;
  const auto left = [&](std::time_t started, const std::string& used) {
    commands.set("qstat", qstat(fmt::format(
                              "    Resource_List.walltime = 01:00:00\n{}"
                              "    stime = {}\n",
                              used.empty() ? "" : "    resources_used.walltime = " + used + "\n",
                              local_time(std::time(nullptr) - started))));
    return ask({{"PBS_JOBID", "12[3].host"}}).left.value();
  };
  EXPECT_NEAR(left(100, "00:00:05"), 3500, 3);
  EXPECT_NEAR(left(100, ""), 3500, 3);
  EXPECT_EQ(left(2000, "00:00:05"), 3595);  // suspended for half an hour
  EXPECT_EQ(left(-50, "00:00:05"), 3595);   // another clock
}

TEST(BatchSystem, OddAnswersOfPbsAreNoLimit) {
  const FakeCommands commands;
  for (const char* odd : {"forever", "1:2:3:4", "", "-00:10:00", "1-00:00:00"}) {
    commands.set("qstat", qstat(fmt::format("    Resource_List.walltime = {}\n", odd)));
    const Said said = ask({{"PBS_JOBID", "12[3].host"}});
    EXPECT_EQ(said.left, std::nullopt) << odd;
    EXPECT_TRUE(contains(said.text, fmt::format("'{}' is not a time of PBS", odd))) << said.text;
  }
  commands.set("qstat", "echo 'qstat: Unknown Job Id' >&2; exit 153");
  const Said said = ask({{"PBS_JOBID", "9.host"}});
  EXPECT_EQ(said.left, std::nullopt);
  EXPECT_TRUE(contains(said.text, "no answer on job 9.host of PBS")) << said.text;
}

TEST(BatchSystem, SecondsThatFluxNames) {
  const FakeCommands commands;
  const auto answer = [&](const std::string& script, const std::string& around = "") {
    commands.set("flux", "[ \"$*\" = 'job timeleft' ] || exit 2\n" + script);
    return ask({{"FLUX_JOB_ID", "f2e73NP"}, {"FLUX_ENCLOSING_ID", around}});
  };
  EXPECT_EQ(answer("echo 3600").left, 3600.0);
  EXPECT_EQ(answer("echo 0").left, 0.0);
  const Said none = answer("echo 4294967295");
  EXPECT_EQ(none.left, std::nullopt);
  EXPECT_TRUE(contains(none.text, "Flux names no limit")) << none.text;
  // A job of a batch job ends with that.
  EXPECT_EQ(answer("[ -n \"$FLUX_JOB_ID\" ] && echo 4294967295 || echo 900", "fDCB6RV").left,
            900.0);
  for (const char* odd : {"1h", "-5", "", "inf"}) {
    const Said said = answer(fmt::format("echo '{}'", odd));
    EXPECT_EQ(said.left, std::nullopt) << odd;
    EXPECT_TRUE(contains(said.text, fmt::format("says '{}'; expected seconds", odd))) << said.text;
  }
  EXPECT_TRUE(contains(answer("exit 1").text, "no answer on job f2e73NP of Flux"));
  // Started by another launcher in the script of a batch job.
  commands.set("flux", "[ \"$*\" = 'job timeleft' ] && echo 77");
  EXPECT_EQ(ask({{"FLUX_ENCLOSING_ID", "fDCB6RV"}}).left, 77.0);
}

TEST(BatchSystem, TheLeastCountsWhereOneSystemRunsInAnother) {
  const FakeCommands commands;
  commands.set("squeue", "echo 1:00:00");
  commands.set("flux", "echo 1800");
  EXPECT_EQ(ask({{"SLURM_JOB_ID", "7"}, {"FLUX_JOB_ID", "f1"}}).left, 1800.0);
  commands.set("flux", "echo 7200");
  EXPECT_EQ(ask({{"SLURM_JOB_ID", "7"}, {"FLUX_JOB_ID", "f1"}}).left, 3600.0);
}

}  // namespace
}  // namespace elastic::test
