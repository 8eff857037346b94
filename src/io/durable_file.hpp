// SPDX-License-Identifier: Apache-2.0
// A file is replaced as a whole or not at all, also if the machine stops in between.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace elastic {

/// A new version of `path` is written under its name with this suffix:
/// in the same folder, so that a rename suffices.
inline constexpr std::string_view temporary_suffix = ".tmp";
/// `path` with the suffix.
std::filesystem::path temporary_name(const std::filesystem::path& path);

/// Gives `temporary`, which was forced to disk, the name `path` and forces the folder to disk.
/// Throws RunError.
void rename_durably(const std::filesystem::path& temporary, const std::filesystem::path& path);

/// Makes a folder and those above it, where they are not there. Throws RunError.
void make_folder(const std::filesystem::path& folder);

/// Replaces `path` by a file with this text. Throws RunError; the old file is then as it was.
void write_file_durably(const std::filesystem::path& path, const std::string& text);

/// The whole file, of at most 1 GiB. Throws InputError if it cannot be read.
std::string read_file(const std::filesystem::path& path);

}  // namespace elastic
