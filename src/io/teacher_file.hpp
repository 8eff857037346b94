// SPDX-License-Identifier: Apache-2.0
// A file of stored distributions: for every token of numbered sequences the k likeliest words,
// their log-probabilities and the log of the mass of all others (doc/stored_teacher.md). Knows
// numbers and fields with names, no model.
//
//   header    1024 bytes of text: a line for each field, and a hash
//   blocks    one per sequence, all of one size, in order
//
//   block     u64  XXH3-64 of the sequence's number and of the rest of the block
//             u64  identity of the sequence, as the caller gives it
//             bfloat16 [L]      log of the mass of all other words
//             bfloat16 [L, k]   log-probabilities
//             u16 or u32 [L, k] words, rising in a row; u16 for V <= 65536
//
// All integers are little endian. A file that is being written has the name NAME.part: blocks come
// in any order, from any rank, and what is whole is told by its hash, so that a writer that was
// stopped is gone on from. When all blocks are there it is forced to disk and gets its own name.
#pragma once
#include <string>
#include <vector>

#include "io/disk_file.hpp"
#include "base/types.hpp"

namespace elastic {

/// What a file says of itself: `value` must be the expected one; `source` names where that comes
/// from, for people. An empty expected value is not compared.
struct TeacherField {
  std::string name, value, source;
};
/// Extents of the blocks.
struct TeacherLayout {
  index_t top_k = 1, vocab_size = 1, seq_length = 1;
  std::uint64_t id_bytes() const { return vocab_size <= 65536 ? 2 : 4; }
  /// Bytes of one sequence.
  std::uint64_t block_bytes() const {
    return 16 + static_cast<std::uint64_t>(seq_length) *
                    (2 + static_cast<std::uint64_t>(top_k) * (2 + id_bytes()));
  }
};
inline constexpr std::uint64_t teacher_header_bytes = 1024;

/// A block: L tokens of one sequence.
struct TeacherBlock {
  std::uint64_t identity = 0;      ///< of the sequence
  std::vector<bfloat16> log_rest;  ///< [L]; -inf: no other word
  std::vector<bfloat16> log_p;     ///< [L, k]
  std::vector<token_t> ids;        ///< [L, k]
};

class TeacherFile {
 public:
  /// A whole file, read only. Throws InputError naming file and field if it is missing, damaged at
  /// its beginning, cut off, or of other fields; `remedy` is added where it is missing.
  static TeacherFile open(const std::filesystem::path& path,
                          const std::vector<TeacherField>& fields, const TeacherLayout& layout,
                          const std::string& remedy = "");
  /// The unfinished file of `path`, written and read; begun where there is none. Holds at least
  /// `samples` blocks; a whole file with fewer becomes unfinished again. For one rank, before
  /// others join(). Throws InputError for one of other fields, which stays as it is, RunError.
  static TeacherFile begin(const std::filesystem::path& path,
                           const std::vector<TeacherField>& fields, const TeacherLayout& layout,
                           index_t samples);
  /// What another rank began.
  static TeacherFile join(const std::filesystem::path& path, const TeacherLayout& layout);
  static std::filesystem::path unfinished(const std::filesystem::path& path);

  index_t samples() const { return m_samples; }
  const std::filesystem::path& path() const { return m_file.path(); }
  /// Throws InputError naming file and block for one that is not what was written.
  TeacherBlock read(index_t sample) const;
  /// Whether a block is whole.
  bool holds(index_t sample) const;
  void write(index_t sample, const TeacherBlock& block);
  /// Forces what this rank wrote to disk.
  void sync() { m_file.sync(); }
  /// Gives the file its own name, once all ranks have forced their blocks to disk.
  static void finish(const std::filesystem::path& path);

 private:
  TeacherFile(DiskFile file, const TeacherLayout& layout);
  std::uint64_t offset(index_t sample) const;
  /// False if the bytes are not those that were written.
  bool load(index_t sample, std::vector<char>& bytes) const;

  DiskFile m_file;
  TeacherLayout m_layout;
  index_t m_samples = 0;
};

}  // namespace elastic
