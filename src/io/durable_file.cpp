// SPDX-License-Identifier: Apache-2.0
// A file is replaced as a whole or not at all.
#include "io/durable_file.hpp"

#include "base/error.hpp"
#include "io/disk_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace elastic {

namespace {

[[noreturn]] void fail(const char* action, const std::filesystem::path& path) {
  const std::string reason = std::strerror(errno);
  throw RunError(fmt::format("{}: cannot {}: {}", path.string(), action, reason));
}

constexpr std::uint64_t largest_text_file = std::uint64_t(1) << 30;

void sync_folder(const std::filesystem::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) fail("open", folder);
  // Some file systems cannot sync a folder (EINVAL): nothing more can be done there.
  int status = -1;
  do {
    status = ::fsync(file);
  } while (status != 0 && errno == EINTR);
  const bool synced = status == 0 || errno == EINVAL;
  const int reason = errno;
  const bool closed = ::close(file) == 0 || errno == EINTR;
  if (!synced) errno = reason;
  if (!synced || !closed) fail("force to disk", folder);
}

}  // namespace

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  return path.string() + std::string(temporary_suffix);
}

void rename_durably(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename the new version", path);
  const auto folder = path.parent_path();
  sync_folder(folder.empty() ? "." : folder);
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code status;
  std::filesystem::create_directories(folder, status);
  if (status)
    throw RunError(
        fmt::format("{}: cannot make the folder: {}", folder.string(), status.message()));
}

void write_file_durably(const std::filesystem::path& path, const std::string& text) {
  const auto temporary = temporary_name(path);
  try {
    DiskFile file = DiskFile::create(temporary);
    file.write_at(0, text.data(), text.size());
    file.sync();
    file.close();
    rename_durably(temporary, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

std::string read_file(const std::filesystem::path& path) {
  const DiskFile file = DiskFile::open(path);
  const std::uint64_t size = file.size();
  if (size > largest_text_file)
    throw InputError(fmt::format("{}: has {} bytes, expected a text of at most {}", path.string(),
                                 size, largest_text_file));
  std::string text(size, '\0');
  file.read_at(0, text.data(), text.size());
  return text;
}

}  // namespace elastic
