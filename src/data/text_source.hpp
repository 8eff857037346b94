// SPDX-License-Identifier: Apache-2.0
// Text files as bytes: vocabulary 256, random windows, one document per window.
//
// Each file is divided into blocks of `block_bytes`; every `validation_every`-th block is held out. A row is a window of
// L + 1 bytes (L tokens and the last target) that lies inside neighbouring blocks of one split and one file, at a place
// drawn uniformly from all such places.
#pragma once
#include <string>

#include "data/token_source.hpp"

namespace elastic {

struct TextSourceConfig {
  std::vector<std::string> files;
  index_t block_bytes = 16384;    ///< at least L + 1, or validation rows are partly padding
  index_t validation_every = 10;  ///< blocks n-1, 2n-1, ... of each file are held out
};

class TextSource : public TokenSource {
 public:
  /// Reads the files. Throws InputError naming the file that is missing or empty, or the size needed for both splits.
  TextSource(const TextSourceConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  index_t vocab_size() const override { return 256; }
  void fill(Split split, index_t sample, Row row) const override;

 private:
  /// Bytes [begin, end) of m_bytes: neighbouring blocks of one split and one file.
  struct Region {
    index_t begin, end;
  };
  const std::vector<Region>& regions(Split split) const { return split == Split::train ? m_train : m_validation; }

  std::string m_bytes;  // all files, one after another
  std::vector<Region> m_train, m_validation;
  std::uint32_t m_seed;
  std::uint64_t m_stream;
};

}  // namespace elastic
