// SPDX-License-Identifier: Apache-2.0
// Start and end of MPI, and the check that every MPI call is made through.
//
//   int main(int argc, char** argv) {
//     MpiEnvironment mpi(argc, argv);
//     const Communicator world = Communicator::world();
//     ...
//   }
#pragma once
#include <mpi.h>

#include <optional>
#include <string>

#include "base/error.hpp"

namespace elastic {

class MpiEnvironment {
 public:
  /// Initialises MPI unless that was done before (the destructor then leaves it alone), and lets
  /// MPI report its errors as return codes. Throws InputError for a launch that check_launch
  /// refuses, RunError if MPI cannot start.
  MpiEnvironment(int& argc, char**& argv);
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

 private:
  bool m_owned = false;
};

/// What the launcher left in the environment; absent = not set.
struct LaunchEnvironment {
  /// Tasks that srun started (SLURM_STEP_NUM_TASKS, or SLURM_NTASKS in a step).
  std::optional<int> slurm_step_tasks;
  /// Processes that mpirun started (OMPI_COMM_WORLD_SIZE, PMI_SIZE).
  std::optional<int> launcher_size;
  bool has_process_manager = false;  ///< PMIX_RANK, PMI_RANK or PMI_FD is set
  static LaunchEnvironment from_process();
};
/// What to say before MPI_Init if srun started several tasks without a process manager, else empty.
/// Open MPI may then end the process within MPI_Init, advising to build it anew.
std::string launch_advice(const LaunchEnvironment& environment);
/// Throws InputError if srun started several tasks that do not know of each other. Each then sees
/// a world of one process, because srun was not told the process manager of this MPI library.
void check_launch(int world_size, const LaunchEnvironment& environment);

/// For main, on a rank that ends with an error; to be called once, on MPI_COMM_WORLD.
///
///   true   every rank has called it: all failed alike, print once and leave normally
///   false  some have not after `seconds` and will wait for ever: print, then abort_all_ranks
bool all_ranks_arrive(double seconds);
[[noreturn]] void abort_all_ranks(ExitCode code);

/// True if MPI can read and write device memory: as Open MPI says when asked, or if the environment
/// has MPICH_GPU_SUPPORT_ENABLED=1.
bool mpi_is_device_aware();

/// Throws RunError with the call, its place and the decoded status unless `status` is MPI_SUCCESS.
void check_mpi(int status, const char* call, SourceLocation where = SourceLocation::current());

}  // namespace elastic

/// Makes an MPI call; throws RunError if it fails.
#define ELASTIC_CHECK_MPI(call) ::elastic::check_mpi((call), #call)
