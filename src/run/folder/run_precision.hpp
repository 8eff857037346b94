// SPDX-License-Identifier: Apache-2.0
// What <precision>/compute = auto becomes when a run starts or is resumed.
#pragma once
#include <optional>

#include "comm/all_ranks_agree.hpp"
#include "config/run_config.hpp"
#include "plan/machine.hpp"

namespace elastic {

/// Collective. For a run that is resumed: the precision in the deck of the checkpoint of step
/// `from`, or of the newest that can be read, whatever the machine is now; float32 where a deck
/// names none, as those of earlier versions. Otherwise what the rule says of the ranks, with a
/// warning where they differ, or of the `machine` that a plan is for (plan/precision.hpp). The same
/// on all ranks.
///
/// A folder without checkpoints counts as a new run: resuming it fails later, with its reason.
PrecisionConfig automatic_precision(const Communicator& comm, const RunConfig& config, bool resume,
                                    std::optional<index_t> from = {},
                                    const Machine* machine = nullptr);

/// Collective. The deck that `read` gives; where that leaves the precision to the program, the one
/// that it gives for the precision chosen. `run`: RunOptions.
template <class Options, class Read>
ResolvedDeck read_with_precision(const Communicator& comm, const Options& run,
                                 const Machine* machine, const Read& read) {
  const ResolvedDeck deck = all_ranks_agree(comm, [&] { return read(); });
  if (deck.config.precision.compute != Precision::automatic) return deck;
  const auto chosen =
      automatic_precision(comm, deck.config, run.resume, run.resuming.from, machine);
  return all_ranks_agree(comm, [&] { return read(chosen); });
}

/// Names a precision that the program chose, where it is not float32, in the log.
void tell_precision(const RunConfig& config);

}  // namespace elastic
