// SPDX-License-Identifier: Apache-2.0
// The verb `import`:
// a Hugging Face folder of a NemotronH model as a checkpoint, one tensor at a time.
//
//   elastic.x import NVIDIA-Nemotron-Nano-12B-v2 parent.h5 --deck nano12b.in
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

/// What is imported, and what is written.
struct ImportOptions {
  std::filesystem::path folder, checkpoint;
  bool force = false;               ///< replace files
  std::filesystem::path deck = {};  ///< of an elastic run (import_deck.hpp); empty: none
};

/// Writes a checkpoint of kind "import": values, shape, a deck that describes the model,
/// config.json and small files of the folder. Returns what was written and the deck of an elastic
/// run of the model, for people; warns of what other programs read otherwise. Throws InputError if
/// the folder is not sound (interop/hf_import.hpp), if a file exists and `force` is not set, or if
/// a deck is asked for and none describes the model; RunError if the disk fails.
std::string import_checkpoint(const ImportOptions& options);

}  // namespace elastic
