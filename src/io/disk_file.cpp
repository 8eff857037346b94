// SPDX-License-Identifier: Apache-2.0
#include "io/disk_file.hpp"

#include "base/error.hpp"
#include "base/life_sign.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace elastic {

namespace {
/// Linux transfers at most 2 GiB per call.
constexpr std::size_t bytes_per_call = std::size_t(1) << 30;
}  // namespace

// --- opening and closing -------------------------------------------------------------------------

DiskFile::DiskFile(const std::filesystem::path& path, int flags, bool writing)
    : m_path(path), m_writing(writing) {
  do {
    m_file = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  } while (m_file < 0 && errno == EINTR);
  if (m_file < 0) fail(flags & O_CREAT ? "create" : writing ? "open" : "read");
}

DiskFile DiskFile::create(const std::filesystem::path& path) {
  return DiskFile(path, O_CREAT | O_TRUNC | O_RDWR, true);
}
DiskFile DiskFile::modify(const std::filesystem::path& path) {
  return DiskFile(path, O_RDWR, true);
}
DiskFile DiskFile::append_to(const std::filesystem::path& path) {
  return DiskFile(path, O_CREAT | O_APPEND | O_WRONLY, true);
}

DiskFile DiskFile::open(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  DiskFile file(path, O_RDONLY | O_NONBLOCK, false);
  struct stat status {};
  if (::fstat(file.m_file, &status) != 0) file.fail("read the size");
  if (S_ISDIR(status.st_mode)) file.fail("read", "it is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) file.fail("read", "it is not a regular file");
  return file;
}

DiskFile::DiskFile(DiskFile&& other) noexcept
    : m_path(std::move(other.m_path)),
      m_writing(other.m_writing),
      m_file(std::exchange(other.m_file, -1)) {}

DiskFile& DiskFile::operator=(DiskFile&& other) noexcept {
  std::swap(m_path, other.m_path);
  std::swap(m_writing, other.m_writing);
  std::swap(m_file, other.m_file);
  return *this;
}

DiskFile::~DiskFile() {
  if (m_file >= 0) ::close(m_file);
}

void DiskFile::close() {
  const int file = std::exchange(m_file, -1);
  // After EINTR, Linux has closed the file all the same.
  if (file >= 0 && ::close(file) != 0 && errno != EINTR) fail("close");
}

// --- errors --------------------------------------------------------------------------------------

void DiskFile::fail(const char* action) const { fail(action, std::strerror(errno)); }

void DiskFile::fail(const char* action, const std::string& reason) const {
  const auto message = fmt::format("{}: cannot {}: {}", m_path.string(), action, reason);
  if (m_writing) throw RunError(message);
  throw InputError(message);
}

// --- transfers -----------------------------------------------------------------------------------

std::uint64_t DiskFile::size() const {
  struct stat status {};
  if (::fstat(m_file, &status) != 0) fail("read the size");
  return static_cast<std::uint64_t>(status.st_size);
}

void DiskFile::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done =
        ::pwrite(m_file, at, std::min(bytes, bytes_per_call), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write");
    if (done == 0) fail("write", "the system takes no more bytes");
    note_progress();
    at += done;
    offset += static_cast<std::uint64_t>(done);
    bytes -= static_cast<std::size_t>(done);
  }
}

void DiskFile::append(const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(m_file, at, std::min(bytes, bytes_per_call));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write");
    if (done == 0) fail("write", "the system takes no more bytes");
    note_progress();
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

void DiskFile::read_at(std::uint64_t offset, void* out, std::size_t bytes) const {
  char* at = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t done =
        ::pread(m_file, at, std::min(bytes, bytes_per_call), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("read");
    if (done == 0)
      fail("read", fmt::format("the file ends at byte {}, {} bytes early", offset, bytes));
    note_progress();
    at += done;
    offset += static_cast<std::uint64_t>(done);
    bytes -= static_cast<std::size_t>(done);
  }
}

void DiskFile::reserve(std::uint64_t bytes) {
  if (::fallocate(m_file, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  const bool cannot_promise =
      errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == EINTR;
  if (!cannot_promise) fail("reserve space");
}

void DiskFile::resize(std::uint64_t bytes) {
  while (::ftruncate(m_file, static_cast<off_t>(bytes)) != 0)
    if (errno != EINTR) fail("set the size");
}

void DiskFile::sync() {
  while (::fsync(m_file) != 0)
    if (errno != EINTR) fail("force to disk");
}

void DiskFile::drop_cache() const {
  static_cast<void>(::posix_fadvise(m_file, 0, 0, POSIX_FADV_DONTNEED));
}
void DiskFile::expect_sequential_reads() const {
  static_cast<void>(::posix_fadvise(m_file, 0, 0, POSIX_FADV_SEQUENTIAL));
}

}  // namespace elastic
