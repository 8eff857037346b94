// SPDX-License-Identifier: Apache-2.0
// Rows of generated problems: whole documents, packed greedily, padded at the end.
#pragma once
#include "data/reasoning_problems.hpp"
#include "data/token_source.hpp"

namespace elastic {

class ReasoningSource : public TokenSource {
 public:
  ReasoningSource(const ReasoningConfig& config, std::uint32_t seed, std::uint64_t stream = 0);

  index_t vocab_size() const override;
  /// Throws InputError if a problem is longer than the row.
  void fill(Split split, index_t sample, Row row) const override;
  const ReasoningProblems& problems() const { return m_problems; }

 private:
  ReasoningProblems m_problems;
};

}  // namespace elastic
