// SPDX-License-Identifier: Apache-2.0
// Megatron's indexed dataset: PREFIX.bin holds token ids back to back, PREFIX.idx says where
// sequences and documents are. The parts of .idx, little-endian and without gaps:
//
//   9 bytes  "MMIDIDX\0\0"
//   u64      version = 1
//   u8       dtype code: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 6 f64, 7 f32, 8 u16
//   u64      S, number of sequences
//   u64      D, number of documents + 1
//   i32[S]   lengths in tokens
//   i64[S]   byte offsets in .bin
//   i64[D]   first sequence of each document (first 0, last S)
//   i8[S]    modes, only in multimodal files (refused)
//
// Reference: Megatron-LM, megatron/core/datasets/indexed_dataset.py. It checks magic and version
// only; here all of the index is checked before any of it is used.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/shard.hpp"
#include "base/types.hpp"
#include "data/mapped_file.hpp"

namespace elastic {

class IndexedDataset {
 public:
  /// Opens PREFIX.idx and PREFIX.bin and checks all of the index against the sizes of both files.
  /// Throws InputError naming the file, what was found and what was expected. Ids are checked
  /// against `vocab_size` by check_ids and when they are read.
  IndexedDataset(const std::string& prefix, index_t vocab_size);

  index_t num_documents() const { return static_cast<index_t>(m_num_document_indices) - 1; }
  index_t num_tokens() const { return m_sequence_start.back(); }
  /// Tokens before document d, in the order of the index; d = num_documents() gives all.
  index_t document_start(index_t d) const { return m_sequence_start[first_sequence(d)]; }
  index_t document_length(index_t d) const { return document_start(d + 1) - document_start(d); }
  index_t vocab_size() const { return m_vocab_size; }
  /// PREFIX.idx: names the dataset in messages.
  const std::string& path() const { return m_idx.path(); }
  /// Tokens [begin, begin + out.size()) of document d. Throws InputError for an id outside [0, V).
  void read(index_t d, index_t begin, std::span<token_t> out) const;
  /// Looks at the ids before they are used: at all of them, or, of more than `most`, at about as
  /// many in blocks of 65,536 tokens spread evenly. Of several ranks, each takes its share of the
  /// blocks. Throws InputError for an id outside [0, V).
  void check_ids(const Shard& share = {}, index_t most = index_t{1} << 28) const;

 private:
  void check_header();
  void check_sequences();
  void check_documents() const;
  std::size_t first_sequence(index_t d) const;
  std::int64_t sequence_length(std::size_t s) const;  // tokens
  std::int64_t sequence_offset(std::size_t s) const;  // bytes in .bin
  std::int64_t id_at(std::size_t byte) const;
  void read_tokens(index_t first, std::span<token_t> out) const;
  [[noreturn]] void refuse_id(index_t token, std::int64_t id) const;

  MappedFile m_idx, m_bin;
  index_t m_vocab_size;
  std::size_t m_num_sequences = 0, m_num_document_indices = 0, m_item_size = 0;  // S, D, bytes
  unsigned m_dtype_code = 0;
  std::vector<index_t> m_sequence_start;  // [S + 1] tokens before each sequence
};

/// Writes PREFIX.bin and PREFIX.idx with one sequence per document; u16 ids if vocab_size < 65500,
/// else i32, as upstream. Throws InputError for an id outside [0, V), RunError if the disk fails.
void write_indexed_dataset(const std::string& prefix, index_t vocab_size,
                           std::span<const std::vector<token_t>> documents);

}  // namespace elastic
