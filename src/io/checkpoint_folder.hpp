// SPDX-License-Identifier: Apache-2.0
// A folder of step-numbered checkpoints:
// checkpoint_000100.h5, checkpoint_000200.h5, ... One rank uses it.
//
//   CheckpointFolder folder("runs/tiny/checkpoints", 3);
//   folder.save(step, [&](CheckpointWriter& writer) { ... });
//   if (const auto found = folder.newest()) CheckpointReader reader(found->path);
#pragma once
#include <functional>
#include <optional>

#include "io/checkpoint_file.hpp"

namespace elastic {

/// A file of the folder. Names with other numbers of digits (checkpoint_100.h5) count too.
struct StoredCheckpoint {
  index_t step = 0;
  std::filesystem::path path;
};
/// One that cannot be used, and why.
struct DamagedCheckpoint {
  StoredCheckpoint checkpoint;
  std::string reason;
};
struct NewestGood {
  std::optional<StoredCheckpoint> checkpoint;  ///< none if there is none that can be used
  std::vector<DamagedCheckpoint> passed_over;  ///< the newer ones, newest first
};

/// All functions throw RunError if the folder cannot be read; one that does not exist is empty.
class CheckpointFolder {
 public:
  /// Keeps the newest `keep_last` checkpoints (0: all) and besides for ever those whose step is a
  /// multiple of `keep_every` (0: none). The folder is made at the first save.
  CheckpointFolder(std::filesystem::path folder, index_t keep_last, index_t keep_every = 0);

  /// Removes what an interrupted save has left, lets `fill` write the checkpoint of this step,
  /// commits it, then removes those that are too old. Throws RunError (or what `fill` throws);
  /// the earlier checkpoints are then as they were.
  void save(index_t step, const std::function<void(CheckpointWriter&)>& fill) const;
  /// Parts of save() for a file that several ranks or a thread write. Before: makes the folder and
  /// removes what an interrupted save has left. After the commit of this step, whose file was read
  /// back and is good: removes those that are too old.
  void prepare() const;
  void rotate(index_t newest) const;

  /// All checkpoints, in the order of their steps.
  std::vector<StoredCheckpoint> checkpoints() const;
  /// Their steps, ascending.
  std::vector<index_t> steps() const;
  /// The file of a step, if there is one.
  std::optional<StoredCheckpoint> find(index_t step) const;
  /// The last one, whatever is in it.
  std::optional<StoredCheckpoint> newest() const;
  /// The last one that passes CheckpointReader::verify, and what is wrong with those after it.
  NewestGood newest_good() const;
  /// The path of newest_good(), or nothing if the folder is empty. Damaged ones are passed over
  /// with a warning. Throws InputError if all are damaged.
  std::optional<std::filesystem::path> latest() const;

  /// Where the checkpoint of a step is written.
  std::filesystem::path path_of(index_t step) const;

 private:
  void remove_leftovers() const;

  std::filesystem::path m_folder;
  index_t m_keep_last, m_keep_every;
};

}  // namespace elastic
