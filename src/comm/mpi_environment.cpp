// SPDX-License-Identifier: Apache-2.0
// Start and end of MPI, and the check that every MPI call is made through.
#include "comm/mpi_environment.hpp"

#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace elastic {

namespace {

std::optional<int> integer_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0') return std::nullopt;
  return static_cast<int>(value);
}

}  // namespace

MpiEnvironment::MpiEnvironment(int& argc, char**& argv) {
  int initialized = 0;
  ELASTIC_CHECK_MPI(MPI_Initialized(&initialized));
  if (!initialized) {
    const std::string advice = launch_advice(LaunchEnvironment::from_process());
    if (!advice.empty() && integer_from_environment("SLURM_PROCID").value_or(0) == 0)
      std::fprintf(stderr, "elastic.x: %s\n", advice.c_str());
    // Watchdog and writers of checkpoints are threads of ours; none of them calls MPI.
    int provided = MPI_THREAD_SINGLE;
    ELASTIC_CHECK_MPI(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided));
    m_owned = true;
    if (provided < MPI_THREAD_FUNNELED)
      std::fprintf(stderr,
                   "elastic.x: this MPI promises nothing to programs with threads; expected "
                   "MPI_THREAD_FUNNELED\n");
  }
  int size = 1;
  try {
    ELASTIC_CHECK_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    ELASTIC_CHECK_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
    check_launch(size, LaunchEnvironment::from_process());
  } catch (const Error&) {
    if (m_owned) MPI_Finalize();
    throw;
  }
}

MpiEnvironment::~MpiEnvironment() {
  if (m_owned) MPI_Finalize();
}

bool all_ranks_arrive(double seconds) {
  MPI_Request request = MPI_REQUEST_NULL;
  ELASTIC_CHECK_MPI(MPI_Ibarrier(MPI_COMM_WORLD, &request));
  const double end = MPI_Wtime() + seconds;
  int done = 0;
  do {
    ELASTIC_CHECK_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    if (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (!done && MPI_Wtime() < end);
  return done != 0;
}

void abort_all_ranks(ExitCode code) {
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::abort();
}

LaunchEnvironment LaunchEnvironment::from_process() {
  LaunchEnvironment environment;
  environment.slurm_step_tasks = integer_from_environment("SLURM_STEP_NUM_TASKS");
  if (!environment.slurm_step_tasks && std::getenv("SLURM_STEP_ID") != nullptr)
    environment.slurm_step_tasks = integer_from_environment("SLURM_NTASKS");
  environment.launcher_size = integer_from_environment("OMPI_COMM_WORLD_SIZE");
  if (!environment.launcher_size) environment.launcher_size = integer_from_environment("PMI_SIZE");
  for (const char* name : {"PMIX_RANK", "PMI_RANK", "PMI_FD"})
    environment.has_process_manager |= std::getenv(name) != nullptr;
  return environment;
}

std::string launch_advice(const LaunchEnvironment& environment) {
  const int tasks = environment.slurm_step_tasks.value_or(1);
  if (tasks <= 1 || environment.launcher_size || environment.has_process_manager) return "";
  return fmt::format(
      "srun started {} tasks and told them of no process manager; should MPI fail to start, use "
      "`srun --mpi=pmix` (`srun --mpi=list` shows the choices) or `mpirun`",
      tasks);
}

void check_launch(int world_size, const LaunchEnvironment& environment) {
  if (world_size != 1 || environment.launcher_size.value_or(0) == 1) return;
  const int tasks = environment.slurm_step_tasks.value_or(1);
  if (tasks <= 1) return;
  throw InputError(
      fmt::format("srun started {} tasks, but MPI sees a world of 1 process: every task would do "
                  "the whole run by itself. "
                  "Use `srun --mpi=pmix` (or `--mpi=pmi2`; `srun --mpi=list` shows the choices), "
                  "start with `mpirun`, or ask for "
                  "one task with `srun -n 1`",
                  tasks));
}

bool mpi_is_device_aware() {
#if defined(MPIX_CUDA_AWARE_SUPPORT) && MPIX_CUDA_AWARE_SUPPORT
  if (MPIX_Query_cuda_support() == 1) return true;
#endif
#if defined(MPIX_ROCM_AWARE_SUPPORT) && MPIX_ROCM_AWARE_SUPPORT
  if (MPIX_Query_rocm_support() == 1) return true;
#endif
  return integer_from_environment("MPICH_GPU_SUPPORT_ENABLED").value_or(0) == 1;
}

void check_mpi(int status, const char* call, SourceLocation where) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw RunError(fmt::format("{} failed: {} ({}:{})", call, text,
                             std::filesystem::path(where.file_name()).filename().string(),
                             where.line()));
}

}  // namespace elastic
