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
// PREFIX.mask, which need not be there, is ours: one byte for each id of .bin, in their order:
// 1 if the token counts as a target, 0 if it is only read.
//
// Reference: Megatron-LM, megatron/core/datasets/indexed_dataset.py. It checks magic and version
// only; here all of the index is checked before any of it is used.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
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
  /// `with_mask`: PREFIX.mask says which tokens count as targets; without it all do.
  /// Throws InputError naming the file, what was found and what was expected. Ids are checked
  /// against `vocab_size`, and bytes of the mask, by check_ids and when they are read.
  IndexedDataset(const std::string& prefix, index_t vocab_size, bool with_mask = false);

  index_t num_documents() const { return static_cast<index_t>(m_num_document_indices) - 1; }
  index_t num_sequences() const { return static_cast<index_t>(m_num_sequences); }
  index_t num_tokens() const { return m_sequence_start.back(); }
  /// Tokens before document d, in the order of the index; d = num_documents() gives all.
  index_t document_start(index_t d) const { return m_sequence_start[first_sequence(d)]; }
  index_t document_length(index_t d) const { return document_start(d + 1) - document_start(d); }
  index_t vocab_size() const { return m_vocab_size; }
  /// PREFIX.idx: names the dataset in messages.
  const std::string& path() const { return m_idx.path(); }
  const MappedFile& bin() const { return m_bin; }
  /// PREFIX.mask; null without.
  const MappedFile* mask() const { return m_mask ? &*m_mask : nullptr; }
  /// Tokens [begin, begin + out.size()) of document d. Throws InputError for an id outside [0, V).
  void read(index_t d, index_t begin, std::span<token_t> out) const;
  /// For the same tokens 1 if they count as targets, else 0. Throws InputError for another byte.
  void read_counts(index_t d, index_t begin, std::span<float> out) const;
  /// Tokens of document d that count as targets. The first one never does: nothing is before it.
  index_t num_targets(index_t d) const;
  /// Whether there is one; looks no further than the first.
  bool has_target(index_t d) const;
  /// Looks at ids and mask before they are used: at all of them, or, of more than `most`, at
  /// about as many in blocks of 65,536 tokens spread evenly. Each of several ranks takes its share
  /// of the blocks. Throws InputError for an id outside [0, V), or a byte of the mask that is
  /// neither 0 nor 1.
  void check_ids(const Shard& share = {}, index_t most = index_t{1} << 28) const;

 private:
  void check_header();
  void check_sequences();
  void check_documents() const;
  void check_mask() const;
  std::size_t first_sequence(index_t d) const;
  std::int64_t sequence_length(std::size_t s) const;  // tokens
  std::int64_t sequence_offset(std::size_t s) const;  // bytes in .bin
  std::int64_t id_at(std::size_t byte) const;
  void read_tokens(index_t first, std::span<token_t> out) const;
  /// body(bytes of the mask) for the tokens [first, first + count) in the order of the index, as
  /// long as it returns true.
  template <class Body>
  void for_each_mask_piece(index_t first, index_t count, const Body& body) const;
  void read_counts(index_t first, std::span<float> out) const;
  [[noreturn]] void refuse_count(const std::byte* place) const;
  [[noreturn]] void refuse_id(index_t token, std::int64_t id) const;

  MappedFile m_idx, m_bin;
  std::optional<MappedFile> m_mask;
  index_t m_vocab_size;
  std::size_t m_num_sequences = 0, m_num_document_indices = 0, m_item_size = 0;  // S, D, bytes
  unsigned m_dtype_code = 0;
  std::vector<index_t> m_sequence_start;  // [S + 1] tokens before each sequence
};

/// Writes PREFIX.bin and PREFIX.idx with one sequence per document; u16 ids if vocab_size < 65500,
/// else i32, as upstream. `masks`: for each document a byte, 0 or 1, per token, for PREFIX.mask;
/// empty: there is none. PREFIX.json (data/dataset_summary.hpp) describes them. Throws InputError
/// for an id outside [0, V), RunError if the disk fails.
void write_indexed_dataset(const std::string& prefix, index_t vocab_size,
                           std::span<const std::vector<token_t>> documents,
                           std::span<const std::vector<std::uint8_t>> masks = {});

}  // namespace elastic
