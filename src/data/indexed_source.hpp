// SPDX-License-Identifier: Apache-2.0
// Rows of an indexed dataset: the documents of a split in random order, joined,
// and cut into rows of L tokens.
//
// The order of the documents is a permutation fixed by (seed, stream).
// Row r covers tokens [rL, rL + L) of the joined documents, with segments per document and no
// target across a boundary.
// Epoch e visits the n rows in the order of a permutation with key (seed, stream, e). This is not
// the order of Megatron-LM, which shuffles with numpy's generator.
#pragma once
#include <string>
#include <vector>

#include "base/random.hpp"
#include "data/indexed_dataset.hpp"
#include "data/token_source.hpp"

namespace elastic {

/// Which dataset, and how many of its documents are held out.
struct IndexedSourceConfig {
  std::string prefix;              ///< PREFIX.bin and PREFIX.idx
  index_t vocab_size;              ///< V of the model; larger ids in the file are an error
  index_t validation_every = 100;  ///< documents n-1, 2n-1, ... are held out
  bool with_mask = false;          ///< PREFIX.mask says which tokens count as targets
};

class IndexedSource : public TokenSource {
 public:
  /// Opens the dataset. Throws InputError if the files are wrong, or if a split has no tokens, or
  /// none that counts as a target: documents of one token, or only zeros in the mask.
  IndexedSource(const IndexedSourceConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  index_t vocab_size() const override { return m_dataset.vocab_size(); }
  void fill(Split split, index_t sample, Row row) const override;
  bool has_mask() const override { return m_dataset.mask() != nullptr; }
  /// Rows of length L before an epoch ends: ceil(tokens / L).
  index_t rows_per_epoch(Split split, index_t seq_length) const;

 private:
  /// Documents of a split in their random order.
  struct Order {
    std::vector<index_t> document;
    std::vector<index_t> start = {0};  // tokens before each, one more than documents
  };
  const Order& order(Split split) const { return split == Split::train ? m_train : m_validation; }

  IndexedDataset m_dataset;
  Order m_train, m_validation;
  RandomKey m_key;
};

}  // namespace elastic
