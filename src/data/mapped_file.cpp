// SPDX-License-Identifier: Apache-2.0
// Memory-mapped files (POSIX).
#include "data/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.hpp"

namespace elastic {

MappedFile::MappedFile(const std::string& path) : m_path(path) {
  const auto fail = [&](const char* what) {
    throw InputError(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
  };
  const int descriptor =
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe waits for no writer
  if (descriptor < 0) fail("cannot be opened");
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    throw InputError(fmt::format("{}: expected a regular file", path));
  }
  if (status.st_size > 0) {  // a mapping of no bytes is an error
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) {
      const int reason = errno;
      ::close(descriptor);
      errno = reason;
      fail("cannot be mapped into memory");
    }
    m_bytes = {static_cast<const std::byte*>(data), size};
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (!m_bytes.empty()) ::munmap(const_cast<std::byte*>(m_bytes.data()), m_bytes.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : m_path(std::move(other.m_path)), m_bytes(std::exchange(other.m_bytes, {})) {}

}  // namespace elastic
