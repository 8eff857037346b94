// SPDX-License-Identifier: Apache-2.0
// What a run is asked to do by signals and by files in its folder (base/stop_request.hpp):
//
//   SIGTERM, SIGINT, SIGUSR1, a file `stop`   save and stop
//   SIGUSR2, a file `save`                    save and go on
//
// It is enough that one rank got the signal. Rank 0 looks for the files.
//
// The kernel gives a signal of the process to its main thread, which has the handler's stack.
#pragma once
#include <filesystem>

#include "comm/communicator.hpp"

namespace elastic {

class StopSignal {
 public:
  /// Installs the handlers in the main thread; the destructor restores what was there.
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  struct Answer {
    bool stop = false, save = false;
  };
  /// Collective: what any rank was asked to do; `own_reason`: this rank has one of its own to stop.
  /// A wish to save is answered once.
  Answer asked(const Communicator& comm, bool own_reason = false) const;
  /// The first half of it.
  bool requested(const Communicator& comm, bool own_reason = false) const;
};

}  // namespace elastic
