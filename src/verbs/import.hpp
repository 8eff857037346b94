// SPDX-License-Identifier: Apache-2.0
// The verb `import`:
// a Hugging Face folder of a NemotronH model as a checkpoint, one tensor at a time.
//
//   elastic.x import NVIDIA-Nemotron-Nano-12B-v2 parent.h5
#pragma once
#include <filesystem>
#include <string>

#include "arch/model_shape.hpp"

namespace elastic {

/// Writes a checkpoint of kind "import": values, shape, a deck that describes the model,
/// config.json and small files of the folder. Returns what was written, for people. Throws
/// InputError if the folder is not sound (interop/hf_import.hpp), or if `out` exists and `force`
/// is not set; RunError if the disk fails.
std::string import_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& out,
                              bool force);

/// The blocks of a deck that describe a model. Widths are those of the first layer of a kind.
std::string deck_of(const ModelShape& shape, const std::string& name, const std::string& parent);

}  // namespace elastic
