// SPDX-License-Identifier: Apache-2.0
// The verb `inspect`: what a checkpoint of elastic.x holds.
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

struct InspectOptions {
  bool tensors = false;  ///< list every tensor
  bool verify = false;   ///< read every tensor and compare its checksum
};

/// Kind, step, shape, parameters, bytes, submodels, ranking, router and optimizer as lines
/// for people. Names, extents and texts are checked always, numbers only with `verify`.
/// Throws InputError for a file that is not a checkpoint or is damaged.
std::string inspect_checkpoint(const std::filesystem::path& path, const InspectOptions& options);

}  // namespace elastic
