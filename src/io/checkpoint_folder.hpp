// SPDX-License-Identifier: Apache-2.0
// A folder of step-numbered checkpoints:
// checkpoint_000100.h5, checkpoint_000200.h5, ... One rank uses it.
//
//   CheckpointFolder folder("runs/tiny/checkpoints", 3);
//   folder.save(step, [&](CheckpointWriter& writer) { ... });
//   if (auto path = folder.latest()) CheckpointReader reader(*path);
#pragma once
#include <functional>
#include <optional>

#include "io/checkpoint_file.hpp"

namespace elastic {

class CheckpointFolder {
 public:
  /// Keeps the newest `keep_last` checkpoints; 0 keeps all. The folder is made at the first save.
  CheckpointFolder(std::filesystem::path folder, index_t keep_last);

  /// Removes what an interrupted save has left, lets `fill` write the checkpoint of this step,
  /// commits it, then removes those that are too old. Throws RunError (or what `fill` throws);
  /// the earlier checkpoints are then as they were.
  void save(index_t step, const std::function<void(CheckpointWriter&)>& fill) const;

  /// The newest checkpoint that passes CheckpointReader::verify, or nothing if there are none.
  /// Damaged ones are passed over with a warning. Throws InputError if all are damaged.
  std::optional<std::filesystem::path> latest() const;

  /// Steps with a checkpoint, ascending.
  std::vector<index_t> steps() const;
  std::filesystem::path path_of(index_t step) const;

 private:
  void remove_leftovers() const;
  void rotate(index_t newest) const;

  std::filesystem::path m_folder;
  index_t m_keep_last;
};

}  // namespace elastic
