// SPDX-License-Identifier: Apache-2.0
// How kernels share out their work on each kind of machine: the one table of all kernels.
//
//                      processor                      device
//   rows of a matrix   a run of rows per thread       a team per row or few rows
//   columns of a row   vectorised loop                lanes of the threads of the team
//   threads in a team  as Kokkos chooses              row_threads
//   lanes of a thread  -                              device_lanes
//   scratch of a team  level 0 up to the limit that the policy states, else level 1
//
// Built with ELASTIC_DEVICE_LOOPS, kernels take the loops of devices on a processor: tests of what
// devices do where there is none. ELASTIC_TEAM_SIZE is then the size of their teams (default 1, all
// that a Serial Kokkos has).
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

#ifdef ELASTIC_DEVICE_LOOPS
inline constexpr bool on_host = false;
#else
/// Whether kernels take the loops of a processor.
inline constexpr bool on_host = std::is_same_v<MemorySpace, HostSpace>;
#endif

#ifndef ELASTIC_TEAM_SIZE
#define ELASTIC_TEAM_SIZE 1
#endif

using TeamPolicy = Kokkos::TeamPolicy<ExecutionSpace>;
using Team = TeamPolicy::member_type;

inline constexpr int device_lanes = 32;  ///< vector lanes of a thread: neighbours in memory
inline constexpr int row_threads = 8;    ///< threads of a team that works on one row

/// `teams` teams of `threads` threads with device_lanes lanes each; on a processor of
/// ELASTIC_TEAM_SIZE threads, whose lanes are a loop.
inline TeamPolicy device_teams(const ExecutionSpace& exec, index_t teams, int threads) {
  constexpr bool is_processor = std::is_same_v<MemorySpace, HostSpace>;
  if constexpr (is_processor)
    return TeamPolicy(exec, static_cast<int>(teams), math::min(threads, ELASTIC_TEAM_SIZE));
  else
    return TeamPolicy(exec, static_cast<int>(teams), threads, device_lanes);
}

/// As device_teams, but without lanes: neighbouring threads are neighbours in memory, and a thread
/// knows its place (team_rank). For loops that keep something per thread.
inline TeamPolicy thread_teams(const ExecutionSpace& exec, index_t teams, int threads) {
  constexpr bool is_processor = std::is_same_v<MemorySpace, HostSpace>;
  return TeamPolicy(exec, static_cast<int>(teams),
                    is_processor ? math::min(threads, ELASTIC_TEAM_SIZE) : threads, 1);
}

/// Level 0 (shared memory of a device, first cache of a processor) as far as the policy allows,
/// else level 1.
inline int scratch_level(index_t bytes) {
  constexpr index_t alignment = 64;
  return bytes + alignment <= static_cast<index_t>(TeamPolicy::scratch_size_max(0)) ? 0 : 1;
}

}  // namespace elastic::kernels
