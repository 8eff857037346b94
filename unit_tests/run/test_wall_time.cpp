// SPDX-License-Identifier: Apache-2.0
// What is left of a job, and the last step that fits into it.
#include "run/wall_time.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"

namespace elastic::test {
namespace {

double g_now = 0;
double clock() { return g_now; }

TEST(WallTime, GivenTimeCountsFromTheStartOfTheProgram) {
  const double left = wall_time_left("10").value();
  EXPECT_LT(left, 600);
  EXPECT_GT(left, 500);
}

/// Variables of this process that are put back.
class Environment {
 public:
  explicit Environment(std::vector<std::pair<std::string, std::string>> values) {
    for (const auto& [name, value] : values) {
      const char* before = std::getenv(name.c_str());
      m_before.emplace_back(name, before ? std::optional<std::string>(before) : std::nullopt);
      if (value.empty())
        unsetenv(name.c_str());
      else
        setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : m_before)
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> m_before;
};

TEST(WallTime, NoJobNoLimit) {
  const Environment none({{"SLURM_JOB_ID", ""}, {"SLURM_JOB_END_TIME", "1"}});
  EXPECT_FALSE(wall_time_left(""));
}

TEST(WallTime, EndOfTheJobInTheEnvironment) {
  const Environment job(
      {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + 1000)}});
  EXPECT_NEAR(wall_time_left("").value(), 1000, 3);
  EXPECT_LT(wall_time_left("5").value(), 300);  // a given time comes first
}

// An end that is over would mean one step, and that after every requeue.
TEST(WallTime, AnEndThatIsNoTimeIsNoLimit) {
  const auto now = std::time(nullptr);
  for (const std::string& text :
       {std::string("soon"), std::string("2026-11-28T12:00:00"), std::string("1e12"),
        std::string("12 "), std::string("-5"), std::string("0x7fffffff"), std::string("nan"),
        std::string("99999999999999999999"), std::to_string(now - 1000),
        std::to_string(now + 11LL * 366 * 24 * 3600)}) {
    const Environment job(
        {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", text}, {"PATH", "/no/such/folder"}});
    testing::internal::CaptureStdout();
    EXPECT_EQ(wall_time_left(""), std::nullopt) << text;
    const std::string said = testing::internal::GetCapturedStdout();
    EXPECT_NE(said.find("SLURM_JOB_END_TIME = " + text + " is not taken"), std::string::npos)
        << said;
  }
}

TEST(WallTime, AnswersOfSqueue) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("squeue_" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const auto answer = [&](const std::string& text) {
    std::ofstream(folder / "squeue") << "#!/bin/sh\n[ \"$2\" = --jobs=7 ] && " << text << "\n";
    std::filesystem::permissions(folder / "squeue", std::filesystem::perms::owner_all);
    const Environment job({{"SLURM_JOB_ID", "7"},
                           {"SLURM_JOB_END_TIME", ""},
                           {"PATH", folder.string() + ":" + std::getenv("PATH")}});
    return wall_time_left("");
  };
  EXPECT_EQ(answer("echo 1-02:03:04"), 93784.0);
  EXPECT_EQ(answer("echo 0:45"), 45.0);
  EXPECT_EQ(answer("echo UNLIMITED"), std::nullopt);
  for (const char* odd : {"--", "1:2:3:4", "1-", ":", "12345678"})
    EXPECT_EQ(answer(std::string("echo ") + odd), std::nullopt) << odd;
  EXPECT_EQ(answer("exit 1"), std::nullopt);
  std::filesystem::remove_all(folder);
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
