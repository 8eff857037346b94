// SPDX-License-Identifier: Apache-2.0
// Writes blocks of a file at given places and reads them back. Knows neither HDF5 nor MPI, so a
// thread may do it, and several ranks may write to one file (each with a writer of its own).
//
//   BlockWriter writer("checkpoint_000100.h5.tmp", BlockWriter::Mode::join);
//   const std::uint64_t hash = writer.write(offset, block.data(), bytes);
//   writer.sync_and_verify();
#pragma once
#include <vector>

#include "io/disk_file.hpp"

namespace elastic {

/// All functions throw RunError naming the file.
class BlockWriter {
 public:
  /// A new file in the place of an old one, or an existing file that another rank has made.
  enum class Mode { create, join };
  BlockWriter(const std::filesystem::path& path, Mode mode);

  const std::filesystem::path& path() const { return m_file.path(); }
  /// Grows the file to at least `bytes` now, where the file system can promise space.
  void reserve(std::uint64_t bytes);
  /// Writes a block at a place of the file. Returns its XXH3-64 hash.
  std::uint64_t write(std::uint64_t offset, const void* data, std::size_t bytes);
  /// Forces the file to disk, reads every block that this writer has written back from there, and
  /// compares the hashes. Blocks verified once are not read again.
  void sync_and_verify();
  /// Cuts the file to this size, or lets it grow.
  void resize(std::uint64_t bytes) { m_file.resize(bytes); }
  std::uint64_t size() const { return m_file.size(); }
  void close() { m_file.close(); }

 private:
  struct Written {
    std::uint64_t offset, bytes, hash;
  };
  DiskFile m_file;
  std::uint64_t m_reserved = 0;
  std::vector<Written> m_written;
};

}  // namespace elastic
