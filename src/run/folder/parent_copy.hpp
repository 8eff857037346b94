// SPDX-License-Identifier: Apache-2.0
// The teacher of a run is one file, parent.h5, on which every elastic step depends and which no
// checkpoint repeats. Checkpoints name the hash of its contents, and a copy lies beside them.
//
// A copy, not a second name of the file: what damages its bytes would damage both. Where the file
// system can share blocks until they are written to (FICLONE), it takes no space.
#pragma once
#include <filesystem>
#include <string>

#include "comm/communicator.hpp"
#include "run/folder/run_folder.hpp"

namespace elastic {

/// Where the copy of the parent with this hash lies: checkpoints/parent_HASH.copy.
std::filesystem::path parent_copy(const RunFolder& folder, const std::string& hash);

/// Copies parent.h5 there, read back and compared before it gets its name. Returns the hash of its
/// contents. Call on one rank. Throws RunError, or InputError if parent.h5 is damaged.
std::string keep_parent_copy(const RunFolder& folder);

/// Collective. Makes sure that parent.h5 is whole and has this hash: otherwise puts the copy in
/// its place, with a warning, and the file that was there into a folder of `abandoned`. Throws
/// InputError naming both if the copy is no better. The ranks share the reading.
void require_parent(const Communicator& comm, const RunFolder& folder, const std::string& hash);

}  // namespace elastic
