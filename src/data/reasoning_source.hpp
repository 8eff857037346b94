// SPDX-License-Identifier: Apache-2.0
// Rows of generated problems: whole documents, packed greedily, padded at the end.
//
// Row r takes the problems rL, rL + 1, ... one after another. A problem that does not fit is left
// out; the row ends after four of them, or when it is full.
#pragma once
#include "data/reasoning_problems.hpp"
#include "data/token_source.hpp"

namespace elastic {

class ReasoningSource : public TokenSource {
 public:
  ReasoningSource(const ReasoningConfig& config, std::uint32_t seed, std::uint64_t stream = 0)
      : m_problems(config, seed, stream) {}

  index_t vocab_size() const override;
  /// Fills a row. Throws InputError if it is shorter than the longest problem
  /// of the configured sizes.
  void fill(Split split, index_t sample, Row row) const override;
  const ReasoningProblems& problems() const { return m_problems; }

 private:
  ReasoningProblems m_problems;
};

}  // namespace elastic
