// SPDX-License-Identifier: Apache-2.0
// Ends a run that hangs, and says which rank is to blame.
//
//   const Watchdog watchdog(world, config.job.watchdog_seconds);
//   ... the run ...
//
// A thread of each rank shows that it lives, and looks at the life signs of all ranks of its node
// (base/life_sign.hpp), which lie in memory that they share. If the run gets on no more
// (comm/stall_detector.hpp), the lowest rank of the node that lives prints one report, and every
// rank leaves with exit code 2; what cannot leave by itself is killed. The thread calls no MPI.
#pragma once
#include <mpi.h>

#include <atomic>
#include <thread>

#include "base/life_sign.hpp"
#include "comm/communicator.hpp"

namespace elastic {

class Watchdog {
 public:
  /// Collective. `patience` in seconds; 0: nobody watches. Throws RunError.
  Watchdog(const Communicator& world, double patience);
  /// Ends the thread. Not collective: a rank may leave with an error of its own, which the others
  /// then do not take for a stall. The shared memory stays until the end of MPI.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void share_signs(const Communicator& node);
  void watch();
  [[noreturn]] void end_all(bool speaks, const struct Stall& stall);

  double m_patience;
  bool m_other_nodes = false;
  int m_ranks = 0, m_place = 0;  // of the node
  struct Shared;
  Shared* m_shared = nullptr;
  std::atomic<bool> m_ends = false;
  std::thread m_thread;
};

}  // namespace elastic
