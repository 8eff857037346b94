// SPDX-License-Identifier: Apache-2.0
// Read-only bytes of a file, paged in by the operating system as they are used.
#pragma once
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "base/types.hpp"

namespace elastic {

class MappedFile {
 public:
  /// Maps a file. Throws InputError naming it if it cannot be read or is not a regular file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return m_bytes; }
  index_t size() const { return static_cast<index_t>(m_bytes.size()); }
  const std::string& path() const { return m_path; }
  /// The T that starts at a byte, at any alignment. The caller knows that it lies in the file.
  template <class T>
  T load(std::size_t byte) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, m_bytes.data() + byte, sizeof(T));
    return value;
  }

 private:
  std::string m_path;
  std::span<const std::byte> m_bytes;
};

}  // namespace elastic
