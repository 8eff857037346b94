// SPDX-License-Identifier: Apache-2.0
// A folder of step-numbered checkpoints:
// checkpoint_000100.h5, checkpoint_000200.h5, ... One rank uses it.
//
//   CheckpointFolder folder("runs/tiny/checkpoints", 3);
//   folder.prepare();
//   CheckpointWriter writer(folder.path_of(step));
//   ...
//   writer.commit();
//   folder.rotate(step);
#pragma once
#include <filesystem>
#include <optional>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// A file of the folder. Names with other numbers of digits (checkpoint_100.h5) count too.
struct StoredCheckpoint {
  index_t step = 0;
  std::filesystem::path path;
};
/// All functions throw RunError if the folder cannot be read; one that does not exist is empty.
class CheckpointFolder {
 public:
  /// Keeps the newest `keep_last` checkpoints (0: all) and besides for ever those whose step is a
  /// multiple of `keep_every` (0: none). The folder is made at the first save.
  CheckpointFolder(std::filesystem::path folder, index_t keep_last, index_t keep_every = 0);

  /// Before a save: makes the folder and removes what an interrupted save has left.
  void prepare() const;
  /// After the commit of this step, whose file was read back and is good: removes those that are
  /// too old. Does nothing if there is no such file.
  void rotate(index_t newest) const;

  /// All checkpoints, in the order of their steps.
  std::vector<StoredCheckpoint> checkpoints() const;
  /// Their steps, ascending.
  std::vector<index_t> steps() const;
  /// The file of a step, if there is one.
  std::optional<StoredCheckpoint> find(index_t step) const;
  /// Where the checkpoint of a step is written.
  std::filesystem::path path_of(index_t step) const;

 private:
  void remove_leftovers() const;

  std::filesystem::path m_folder;
  index_t m_keep_last, m_keep_every;
};

}  // namespace elastic
