// SPDX-License-Identifier: Apache-2.0
// Text files as bytes: vocabulary 256, random windows, one document per window.
//
// Each file is divided into equal parts, and the last `validation_fraction` of every part is held
// out. There are as many parts as give held-out stretches of about `held_out_bytes`, and at least
// one: a small file loses its end, a large one is sampled all along.
//
// A row is a window of L + 1 bytes (L tokens and the last target) that lies inside one stretch
// of its split, at a place drawn uniformly from all such places. A stretch that is too short
// gives one window with padding.
#pragma once
#include <string>
#include <vector>

#include "base/random.hpp"
#include "data/mapped_file.hpp"
#include "data/token_source.hpp"

namespace elastic {

struct TextSourceConfig {
  std::vector<std::string> files;
  double validation_fraction = 0.1;  ///< of each file, 0.001 to 0.5
  index_t held_out_bytes = 65536;    ///< of a held-out stretch; larger than L, or rows have padding
};

class TextSource : public TokenSource {
 public:
  /// Maps the files. Throws InputError naming the file that is missing or empty, or all files and
  /// the size that is needed if less than 256 bytes were held out.
  TextSource(const TextSourceConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  static constexpr index_t vocabulary = 256;  ///< V: bytes
  index_t vocab_size() const override { return vocabulary; }
  void fill(Split split, index_t sample, Row row) const override;

 private:
  /// Bytes [begin, end) of a file that belong to one split.
  struct Stretch {
    std::size_t file;
    index_t begin, end;
    index_t windows(index_t seq_length) const;
  };
  void divide(std::size_t file, const TextSourceConfig& config);
  const std::vector<Stretch>& stretches(Split split) const {
    return split == Split::train ? m_train : m_validation;
  }

  std::vector<MappedFile> m_files;
  std::vector<Stretch> m_train, m_validation;
  RandomKey m_key;
};

}  // namespace elastic
