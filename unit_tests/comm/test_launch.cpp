// SPDX-License-Identifier: Apache-2.0
// Launch check, error decoding and the collectives on one rank.
#include <gtest/gtest.h>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"

namespace elastic::test {
namespace {

TEST(CheckLaunch, RefusesSrunTasksThatDoNotKnowOfEachOther) {
  try {
    check_launch(1, {.slurm_step_tasks = 4, .launcher_size = {}});
    FAIL() << "expected an InputError";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("srun started 4 tasks"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--mpi=pmix"), std::string::npos);
  }
  EXPECT_THROW(check_launch(1, {.slurm_step_tasks = 2, .launcher_size = 2}), InputError);
}

TEST(CheckLaunch, AcceptsProperLaunches) {
  EXPECT_NO_THROW(check_launch(1, {}));
  EXPECT_NO_THROW(check_launch(4, {.slurm_step_tasks = 4, .launcher_size = {}}));
  EXPECT_NO_THROW(check_launch(1, {.slurm_step_tasks = 1, .launcher_size = {}}));
  EXPECT_NO_THROW(check_launch(
      1, {.slurm_step_tasks = 4, .launcher_size = 1}));  // mpirun -n 1 in an allocation
}

TEST(LaunchAdvice, OnlyForTasksThatWereToldOfNoProcessManager) {
  const auto advice = [](int tasks, bool manager, std::optional<int> launcher = {}) {
    return launch_advice(
        {.slurm_step_tasks = tasks, .launcher_size = launcher, .has_process_manager = manager});
  };
  EXPECT_NE(advice(2, false).find("srun started 2 tasks"), std::string::npos);
  EXPECT_NE(advice(2, false).find("srun --mpi=pmix"), std::string::npos);
  EXPECT_EQ(advice(2, true), "");
  EXPECT_EQ(advice(1, false), "");
  EXPECT_EQ(advice(4, false, 8), "");  // mpirun starts its daemons by srun
  EXPECT_EQ(launch_advice({}), "");
}

TEST(LaunchAdvice, ReadsTheEnvironment) {
  for (const char* name : {"PMIX_RANK", "PMI_RANK", "PMI_FD"}) {
    const char* before = std::getenv(name);
    const std::string value = before ? before : "";
    setenv(name, "0", 1);
    EXPECT_TRUE(LaunchEnvironment::from_process().has_process_manager) << name;
    before ? setenv(name, value.c_str(), 1) : unsetenv(name);
  }
}

TEST(CheckLaunch, ReadsTheEnvironment) {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", "SLURM_NTASKS"}) unsetenv(name);
  setenv("SLURM_NTASKS", "3", 1);
  // This is a batch script, not a task of srun.
  EXPECT_FALSE(LaunchEnvironment::from_process().slurm_step_tasks);
  setenv("SLURM_STEP_ID", "0", 1);
  EXPECT_EQ(LaunchEnvironment::from_process().slurm_step_tasks, 3);
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  EXPECT_EQ(LaunchEnvironment::from_process().slurm_step_tasks, 2);
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", "SLURM_NTASKS"}) unsetenv(name);
}

TEST(CheckMpi, DecodesTheStatus) {
  const auto self = Communicator::self();
  try {
    int value = 0;
    ELASTIC_CHECK_MPI(MPI_Bcast(&value, 1, MPI_INT, 7, self.handle()));
    FAIL() << "expected a RunError";
  } catch (const RunError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("MPI_Bcast(&value, 1, MPI_INT, 7, self.handle()) failed: MPI_ERR_ROOT"),
              std::string::npos)
        << message;
    EXPECT_NE(message.find("test_launch.cpp:"), std::string::npos) << message;
  }
}

TEST(OneRank, CollectivesLeaveTheValuesAlone) {
  auto self = Communicator::self();
  EXPECT_EQ(self.size(), 1);
  EXPECT_TRUE(self.is_root());
  for (const bool deterministic : {false, true}) {
    self.set_deterministic(deterministic);
    std::vector<double> x = {1, 2, 3};
    all_reduce_sum(self, x);
    EXPECT_EQ(x, (std::vector<double>{1, 2, 3}));
    EXPECT_EQ(all_reduce_max(self, 5), 5);
  }
  std::string text = "abc";
  broadcast(self, text);
  EXPECT_EQ(text, "abc");
  EXPECT_EQ(gather_strings(self, "x"), std::vector<std::string>{"x"});
  EXPECT_EQ(all_ranks_agree(self, [] { return 3; }), 3);
  EXPECT_THROW(all_ranks_agree(self, [] { throw InputError("no"); }), InputError);
}

TEST(Views, GapsBetweenRowsAreRefused) {
  const View2<float> parent("elastic::test", 3, 4);
  EXPECT_THROW(impl::with_mpi_pointer("all_reduce_sum", prefix(parent, 3, 2),
                                      impl::Access::read_write, false, [](float*) {}),
               ContractError);
}

}  // namespace
}  // namespace elastic::test
