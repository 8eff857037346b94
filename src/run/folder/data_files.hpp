// SPDX-License-Identifier: Apache-2.0
// The files that a run trains on, as far as can be told without reading them through: a run that
// goes on finds the data that its steps were done with.
#pragma once
#include <filesystem>
#include <string>

#include "config/run_config.hpp"

namespace elastic {

/// One line `BYTES HASH PATH` for each file of the deck's data, in their order; the hash is that of
/// the first and the last mebibyte. Empty for generated problems. Call on one rank. Throws
/// InputError for a file that cannot be read.
std::string data_files(const DataConfig& data);

/// Throws InputError naming every file that is not the one that `before` (of data_files; empty: not
/// known) says, unless changes are accepted, which a warning then lists. Files are compared in
/// their order: they may have moved. `checkpoint`: where `before` stands.
void check_data_files(const std::string& before, const std::string& now,
                      const std::filesystem::path& checkpoint, bool accept_changes);

}  // namespace elastic
