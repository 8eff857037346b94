// SPDX-License-Identifier: Apache-2.0
// Megatron's indexed dataset: PREFIX.bin holds token ids back to back, PREFIX.idx says where sequences and documents are.
//
// .idx, little-endian: 9 bytes "MMIDIDX\0\0", u64 version = 1, u8 dtype code, u64 S sequences, u64 D = documents + 1,
// i32[S] lengths in tokens, i64[S] byte offsets in .bin, i64[D] first sequence of each document (first 0, last S), and
// i8[S] modes in multimodal files (refused). dtype codes: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 6 f64, 7 f32, 8 u16.
// Reference: Megatron-LM, megatron/core/datasets/indexed_dataset.py.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Read-only bytes of a file, paged in by the operating system as they are used.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return m_bytes; }
  const std::string& path() const { return m_path; }

 private:
  std::string m_path;
  std::span<const std::byte> m_bytes;
};

class IndexedDataset {
 public:
  /// Opens PREFIX.idx and PREFIX.bin and checks all of the index against the sizes of both files. Throws InputError
  /// naming the file, what was found and what was expected. `vocab_size`: ids are checked against it when read.
  IndexedDataset(const std::string& prefix, index_t vocab_size);

  index_t num_documents() const { return static_cast<index_t>(m_document_start.size()) - 1; }
  index_t num_tokens() const { return m_document_start.back(); }
  /// Tokens before document d, in the order of the index; d = num_documents() gives all.
  index_t document_start(index_t d) const { return m_document_start[static_cast<std::size_t>(d)]; }
  index_t document_length(index_t d) const { return document_start(d + 1) - document_start(d); }
  index_t vocab_size() const { return m_vocab_size; }
  /// Tokens [begin, begin + out.size()) of document d. Throws InputError for an id outside [0, V).
  void read(index_t d, index_t begin, std::span<token_t> out) const;

 private:
  void read_header();
  void check_sequences();
  void read_documents();
  token_t token_at(std::size_t byte) const;

  MappedFile m_idx, m_bin;
  index_t m_vocab_size;
  std::size_t m_num_sequences = 0, m_num_document_indices = 0, m_item_size = 0;
  unsigned m_dtype_code = 0;
  std::vector<index_t> m_sequence_start;   // [S + 1] tokens before each sequence
  std::vector<index_t> m_sequence_offset;  // [S] byte in .bin
  std::vector<index_t> m_first_sequence;   // [D] of each document
  std::vector<index_t> m_document_start;   // [D] tokens before each document
};

/// Writes PREFIX.bin and PREFIX.idx with one sequence per document; u16 ids if vocab_size < 65500, else i32, as upstream.
void write_indexed_dataset(const std::string& prefix, index_t vocab_size,
                           std::span<const std::vector<token_t>> documents);

}  // namespace elastic
