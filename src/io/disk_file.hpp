// SPDX-License-Identifier: Apache-2.0
// An open file of which every status is seen: short and interrupted transfers are gone on with,
// and whatever fails throws an error that names the file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace elastic {

/// RunError for a file being written, InputError for a file being read.
class DiskFile {
 public:
  /// A new file, read and written; an old one of that name is overwritten.
  static DiskFile create(const std::filesystem::path& path);
  /// An existing file, read and written.
  static DiskFile modify(const std::filesystem::path& path);
  /// A file to whose end is written; made if there is none.
  static DiskFile append_to(const std::filesystem::path& path);
  /// An existing regular file, read only.
  static DiskFile open(const std::filesystem::path& path);

  DiskFile(DiskFile&& other) noexcept;
  DiskFile& operator=(DiskFile&& other) noexcept;
  ~DiskFile();

  const std::filesystem::path& path() const { return m_path; }
  std::uint64_t size() const;
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  /// At the end of a file of append_to.
  void append(const void* data, std::size_t bytes);
  /// Exactly so many bytes; an error if the file ends before.
  void read_at(std::uint64_t offset, void* out, std::size_t bytes) const;
  /// Makes sure that the file can grow to `bytes` (it does grow) where the file system can promise
  /// that; elsewhere does nothing.
  void reserve(std::uint64_t bytes);
  void resize(std::uint64_t bytes);
  /// Forces contents and size to disk.
  void sync();
  /// What is read next comes from the disk, where the system can do that. Only after sync().
  void drop_cache() const;
  /// Tells the system that the file is read from its beginning to its end.
  void expect_sequential_reads() const;
  /// Closes and reports what the destructor has to hide.
  void close();

 private:
  DiskFile(const std::filesystem::path& path, int flags, bool writing);
  [[noreturn]] void fail(const char* action) const;
  [[noreturn]] void fail(const char* action, const std::string& reason) const;

  std::filesystem::path m_path;
  bool m_writing;
  int m_file = -1;
};

}  // namespace elastic
