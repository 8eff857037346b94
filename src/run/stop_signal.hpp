// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGUSR1 ask a run to save and stop at the end of the step.
// It is enough that one rank was asked.
//
// The kernel gives a signal of the process to its main thread, which has the handler's stack.
#pragma once
#include "comm/communicator.hpp"

namespace elastic {

class StopSignal {
 public:
  /// Installs the handlers in the main thread; the destructor restores what was there.
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  /// Collective: true on every rank if any rank has received a signal or has a reason of its own.
  bool requested(const Communicator& comm, bool own_reason = false) const;
};

}  // namespace elastic
