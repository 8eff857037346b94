// SPDX-License-Identifier: Apache-2.0
// Pictures of a folder, drawn by a Python script that the program holds and leaves in the folder.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace elastic {

/// Writes `script` as plot.py into the folder and runs it there with $ELASTIC_PYTHON, or else with
/// `python`. Returns why there are no pictures, in one line, or nothing if they are drawn. Ends the
/// script after `limit_seconds`. Throws RunError if the disk fails.
std::optional<std::string> draw_folder(const std::filesystem::path& folder,
                                       const std::string& script, const std::string& python,
                                       double limit_seconds = 60);

}  // namespace elastic
