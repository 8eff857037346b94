// SPDX-License-Identifier: Apache-2.0
// PREFIX.json beside a .bin/.idx pair: counts and range of its ids, so that a run knows before it
// begins, and without reading them all, that its model has a word for every id. The fields, with
// what they mean, stand in doc/data.md.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "data/indexed_dataset.hpp"

namespace elastic {

struct DatasetSummary {
  index_t tokens = 0, sequences = 0, documents = 0;
  index_t targets = 0;  ///< tokens that count (IndexedDataset::num_targets)
  std::int64_t smallest_id = 0, largest_id = -1;  ///< as they stand for no ids at all
  index_t vocab_size = 0;                         ///< of the tokenizer
  std::string tokenizer;                          ///< its name, for people
  index_t bin_bytes = 0;
  std::uint32_t bin_crc32 = 0;              ///< of the ends of PREFIX.bin (crc32_of_ends)
  std::optional<std::uint32_t> mask_crc32;  ///< of the ends of PREFIX.mask; without a mask null
};

/// CRC-32 (that of zlib) of the first and then of the last mebibyte, or all bytes twice.
std::uint32_t crc32_of_ends(std::span<const std::byte> bytes);

/// What a new PREFIX.json holds.
std::string to_json(const DatasetSummary& summary);

/// The summary of files just written, by reading all of them.
DatasetSummary summarize(const IndexedDataset& dataset, const std::string& tokenizer);

/// PREFIX.json, if there is one and if it is about this dataset. `why_not` says why it is not used
/// ("" if there is none).
std::optional<DatasetSummary> read_summary(const std::string& prefix, const IndexedDataset& dataset,
                                           std::string& why_not);

/// Throws InputError, which names PREFIX.json, if its ids are not all in [0, V) of the dataset.
void require_known_ids(const std::string& prefix, const DatasetSummary& summary,
                       const IndexedDataset& dataset);

}  // namespace elastic
