// SPDX-License-Identifier: Apache-2.0
#include "io/block_writer.hpp"

#include "base/error.hpp"
#include "io/content_hash.hpp"
#include "io/sealed_file.hpp"

#include <algorithm>

namespace elastic {

BlockWriter::BlockWriter(const std::filesystem::path& path, Mode mode)
    : m_file(mode == Mode::create ? DiskFile::create(path) : DiskFile::modify(path)) {}

void BlockWriter::reserve(std::uint64_t bytes) {
  if (bytes <= m_reserved) return;
  m_file.reserve(bytes);
  m_reserved = bytes;
}

std::uint64_t BlockWriter::write(std::uint64_t offset, const void* data, std::size_t bytes) {
  // In pieces that are still in the processor's caches when the system copies them.
  ContentHasher hasher;
  for (std::size_t done = 0; done < bytes; done += bytes_per_piece) {
    const char* at = static_cast<const char*>(data) + done;
    const std::size_t piece = std::min(bytes_per_piece, bytes - done);
    hasher.add(at, piece);
    m_file.write_at(offset + done, at, piece);
  }
  m_written.push_back({offset, bytes, hasher.value()});
  return hasher.value();
}

void BlockWriter::sync_and_verify() {
  m_file.sync();
  m_file.drop_cache();
  std::vector<char> buffer;
  for (const auto& [offset, bytes, hash] : m_written) {
    const std::uint64_t read = hash_of_range(m_file, offset, bytes, buffer);
    if (read != hash)
      throw RunError(fmt::format(
          "{}: bytes {} to {} read back from disk are not those that were written (XXH3-64 {}, "
          "written was {})",
          path().string(), offset, offset + bytes, spell_hash(read), spell_hash(hash)));
  }
  m_written.clear();
}

}  // namespace elastic
