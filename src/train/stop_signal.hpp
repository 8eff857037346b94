// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGUSR1 ask a run to save and stop at the end of the step; one rank that was
// asked is enough.
#pragma once
#include "comm/communicator.hpp"

namespace elastic {

class StopSignal {
 public:
  /// Installs the handlers; the destructor restores what was there.
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  /// Collective: true on every rank if any rank has received a signal.
  bool requested(const Communicator& comm) const;
};

}  // namespace elastic
