// SPDX-License-Identifier: Apache-2.0
// The checkpoint that a run goes on from.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "io/checkpoint_folder.hpp"
#include "run/folder/run_folder.hpp"
#include "run/folder/run_identity.hpp"

namespace elastic {

struct ResumeOptions {
  bool allow_fallback = false;       ///< pass over checkpoints that cannot be used
  bool accept_changes = false;       ///< of the deck, in what decided the steps done
  std::optional<index_t> from = {};  ///< this step instead of the newest
};

struct CheckpointChoice {
  std::filesystem::path path;
  CheckpointHead head;
  RunIdentity run;                           ///< of the folder, or given to it now
  std::vector<std::filesystem::path> later;  ///< checkpoints of later steps
};

/// Collective. The newest checkpoint of the folder, or that of `options.from`, after all of it was
/// read: it is whole, of this run, its numbers are finite, and the deck of its steps agrees with
/// `deck`, the resolved one at hand (run/folder/deck_changes.hpp). Ranks share the reading. Changes
/// nothing in the folder.
///
/// Throws InputError (NumericsError if a number is not finite) naming file and object if it is
/// not so; with allow_fallback it goes on to the next older one with a warning, but never where the
/// deck differs.
CheckpointChoice choose_checkpoint(const Communicator& comm, const RunFolder& folder,
                                   const CheckpointFolder& checkpoints, const std::string& deck,
                                   const ResumeOptions& options);

/// Reads the tensors of the file that fall to rank `rank` of `size`. Throws InputError for one that
/// is damaged, NumericsError naming the first that holds a number that is not finite.
void check_tensors(const CheckpointReader& file, int rank, int size);

}  // namespace elastic
