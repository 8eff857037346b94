// SPDX-License-Identifier: Apache-2.0
// A file is replaced as a whole or not at all.
#include "io/durable_file.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace elastic {

namespace {

[[noreturn]] void fail(const char* action, const std::filesystem::path& path) {
  const std::string reason = std::strerror(errno);
  throw RunError(fmt::format("{}: cannot {}: {}", path.string(), action, reason));
}

void sync_to_disk(const std::filesystem::path& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC);
  if (file < 0) fail("open", path);
  // Some file systems cannot sync a folder (EINVAL): nothing more can be done there.
  const bool synced = ::fsync(file) == 0 || errno == EINVAL;
  const int reason = errno;
  ::close(file);
  errno = reason;
  if (!synced) fail("force to disk", path);
}

}  // namespace

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  return path.string() + std::string(temporary_suffix);
}

void reserve_space(int file, std::size_t bytes, const std::filesystem::path& path) {
  if (::fallocate(file, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  const bool cannot_promise =
      errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == EINTR;
  if (!cannot_promise) fail("reserve space", path);
}

void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  sync_to_disk(temporary, O_RDWR);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename the new version", path);
  const auto folder = path.parent_path();
  sync_to_disk(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
}

void write_file_durably(const std::filesystem::path& path, const std::string& text) {
  const auto temporary = temporary_name(path);
  errno = 0;
  std::ofstream file(temporary, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) {
    const int reason = errno;
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    errno = reason;
    fail("write", path);
  }
  commit_file(temporary, path);
}

std::string read_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file && std::filesystem::file_size(path) > 0) text << file.rdbuf();
  if (!file || !text)
    throw InputError(fmt::format("{}: cannot read: {}", path.string(), std::strerror(errno)));
  return text.str();
}

void check_target(const std::filesystem::path& out, bool force) {
  const auto folder = out.has_parent_path() ? out.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder))
    throw InputError(
        fmt::format("{}: the folder {} does not exist", out.string(), folder.string()));
  if (!std::filesystem::exists(out)) return;
  if (std::filesystem::is_directory(out))
    throw InputError(fmt::format("{}: a folder, expected the name of a file", out.string()));
  if (!force)
    throw InputError(
        fmt::format("{}: exists; choose another --out, or replace it with --force", out.string()));
}

}  // namespace elastic
