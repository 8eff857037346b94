// SPDX-License-Identifier: Apache-2.0
// Several sources in given proportions w_i.
//
// Sample n comes from the source with the largest deficit
//
//   w_i max(n, 1) - taken_i,   taken_i: samples taken from source i so far,
//
// the first source on a tie, and is that source's sample number taken_i. After any n samples,
// taken_i differs from w_i n by less than the number of sources. The rule is that of Megatron-LM
// (build_blending_indices), to the last tie: weights are normalised as numpy does, product and
// difference are rounded one after the other on every build.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "data/token_source.hpp"

namespace elastic {

class BlendedSource : public TokenSource {
 public:
  /// Weights are normalised to sum 1. Throws InputError if they are not positive, not one per
  /// source, or if vocabularies differ.
  BlendedSource(std::vector<std::unique_ptr<TokenSource>> sources, std::vector<double> weights);

  index_t vocab_size() const override { return m_sources.front()->vocab_size(); }
  void fill(Split split, index_t sample, Row row) const override;
  /// Whether any source has one.
  bool has_mask() const override;

  struct Pick {
    index_t source, sample;  ///< which source, and the number of the sample in it
  };
  /// Where sample n of the blend comes from.
  Pick pick(index_t sample) const;

 private:
  /// The source of sample n after `taken` samples of each.
  std::size_t best(index_t n, const std::vector<index_t>& taken) const;
  /// Samples taken of each source before the last multiple of 1024 that is not above `sample`.
  std::vector<index_t> snapshot_before(index_t sample) const;

  std::vector<std::unique_ptr<TokenSource>> m_sources;
  std::vector<double> m_weights;
  // The rule needs all picks before n, so taken_i is kept for samples 0, 1024, 2048, ... The kept
  // values are a function of the weights only, so that fill stays a pure function.
  mutable std::mutex m_mutex;
  mutable std::vector<std::vector<index_t>> m_snapshots;
};

}  // namespace elastic
