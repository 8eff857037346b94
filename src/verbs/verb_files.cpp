// SPDX-License-Identifier: Apache-2.0
#include "verbs/verb_files.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void refuse(const fs::path& path, const std::string& reason) {
  throw InputError(fmt::format("{}: {}", path.string(), reason));
}

/// Status of what a name leads to. Throws InputError if that cannot be said.
fs::file_status status_of(const fs::path& path) {
  std::error_code failed;
  const auto status = fs::status(path, failed);
  if (status.type() == fs::file_type::none) refuse(path, "cannot be used: " + failed.message());
  return status;
}

fs::path folder_of(const fs::path& out) {
  return out.has_parent_path() ? out.parent_path() : fs::path(".");
}

void require_folder(const fs::path& out) {
  if (out.empty()) throw InputError("--out: expected a name, found an empty one");
  const fs::path folder = folder_of(out);
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    refuse(out, fmt::format("the folder {} does not exist", folder.string()));
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    refuse(out, fmt::format("the folder {} cannot be written", folder.string()));
}

bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

}  // namespace

void require_input_file(const VerbInput& input, std::uintmax_t most_bytes) {
  const fs::path& path = input.path;
  const auto status = status_of(path);
  if (!fs::exists(status)) refuse(path, fmt::format("{} is not there", input.what));
  if (!fs::is_regular_file(status))
    refuse(path, fmt::format("{} is {}, expected a regular file", input.what,
                             fs::is_directory(status) ? "a folder" : "a device, pipe or socket"));
  std::error_code failed;
  const auto size = fs::file_size(path, failed);
  if (failed) refuse(path, "cannot be read: " + failed.message());
  if (size == 0) refuse(path, fmt::format("{} is empty", input.what));
  if (size > most_bytes)
    refuse(path, fmt::format("{} has {} bytes, expected at most {}", input.what, size, most_bytes));
}

void require_output_file(const fs::path& out, bool force, const std::vector<VerbInput>& inputs) {
  require_folder(out);
  const fs::path temporary = temporary_name(out);
  for (const auto& input : inputs) {
    if (is_same_file(out, input.path))
      refuse(out, fmt::format("is {} itself; choose another --out", input.what));
    if (is_same_file(temporary, input.path))
      refuse(out, fmt::format("is written as {} first, which is {}; choose another --out",
                              temporary.string(), input.what));
  }
  const auto status = status_of(out);
  if (!out.has_filename() || fs::is_directory(status))
    refuse(out, "a folder, expected the name of a file");
  if (fs::exists(status) && !fs::is_regular_file(status))
    refuse(out, "a device, pipe or socket, expected the name of a file");
  if (fs::exists(status) && !force)
    refuse(out, "exists; choose another --out, or replace it with --force");
  std::error_code ignored;
  const auto in_the_way = fs::symlink_status(temporary, ignored);
  if (fs::exists(in_the_way) && !fs::is_regular_file(in_the_way))
    refuse(temporary, "is in the way: the new file is written under this name first; remove it");
}

void require_output_folder(const fs::path& out) {
  const fs::path path = out.has_filename() ? out : out.parent_path();
  require_folder(path);
  const auto status = status_of(path);
  std::error_code ignored;
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(path, ignored)))
    refuse(path, "exists; choose another --out");
}

std::vector<VerbInput> files_of(const fs::path& folder, const std::string& what) {
  std::vector<VerbInput> files;
  std::error_code failed;
  for (fs::directory_iterator item(folder, failed), end; !failed && item != end;
       item.increment(failed))
    if (std::error_code ignored; item->is_regular_file(ignored))
      files.push_back({item->path(), what});
  return files;
}

}  // namespace elastic
