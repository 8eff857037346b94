// SPDX-License-Identifier: Apache-2.0
// The one door for the files of all verbs: what is read is a regular file of a sane size, and what
// is written is none of it, lies in a folder that can be written, and replaces only what it may.
// Files are compared by device and inode, so that links do not hide them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace elastic {

/// A file that a verb reads, and what it is for people: "the checkpoint".
struct VerbInput {
  std::filesystem::path path;
  std::string what;
};

/// Throws InputError naming the file unless it is a regular file with 1 to `most_bytes` bytes.
/// Never opens it: a pipe would wait.
void require_input_file(const VerbInput& input, std::uintmax_t most_bytes = UINTMAX_MAX);

/// Throws InputError unless `out` can be a new file, written under its temporary name first: none
/// of `inputs`, no folder or device, in a folder that can be written, and new unless `force` is
/// set.
void require_output_file(const std::filesystem::path& out, bool force,
                         const std::vector<VerbInput>& inputs);
/// Throws InputError unless `out` can be a new folder: it is not there or an empty folder, in a
/// folder that can be written.
void require_output_folder(const std::filesystem::path& out);

/// The regular files of a folder, as inputs.
std::vector<VerbInput> files_of(const std::filesystem::path& folder, const std::string& what);

}  // namespace elastic
