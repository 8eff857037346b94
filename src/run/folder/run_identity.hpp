// SPDX-License-Identifier: Apache-2.0
// Which run a file belongs to: every run has an id, which stands in its folder (run.id) and, with
// the hash of its teacher (parent.h5), in every file of weights that it writes.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "io/checkpoint_file.hpp"

namespace elastic {

/// What run.id says.
struct RunIdentity {
  std::string id;
  /// Checkpoints up to this step have no id: they were written by a version that gave none.
  index_t steps_without_id = -1;
};

/// 32 hexadecimal digits from the machine's entropy; no number of the run depends on them.
std::string new_run_id();

/// Nothing if there is no such file. Throws InputError for one that holds no id.
std::optional<RunIdentity> read_run_identity(const std::filesystem::path& file);
void write_run_identity(const std::filesystem::path& file, const RunIdentity& identity);

/// What every file of weights says of its run. Attributes run_id and parent_hash; empty: none.
struct FileIdentity {
  std::string run_id, parent_hash;
};
void write_file_identity(CheckpointWriter& file, const FileIdentity& identity);
FileIdentity read_file_identity(const CheckpointReader& file);

/// What a training checkpoint says of the run up to it.
struct CheckpointHead {
  FileIdentity identity;
  index_t step = 0;
  bool elastic = false;
  std::string deck;
  std::string data_files;  ///< that it was trained on (run/folder/data_files.hpp); on rank 0
};
CheckpointHead read_head(const CheckpointReader& file);

/// Throws InputError unless the checkpoint is of this run: its id, or none where the run had none.
void require_same_run(const RunIdentity& run, const CheckpointHead& head,
                      const std::filesystem::path& checkpoint);

}  // namespace elastic
