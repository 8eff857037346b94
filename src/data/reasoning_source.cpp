// SPDX-License-Identifier: Apache-2.0
// Packing of reasoning problems.
#include "data/reasoning_source.hpp"

#include "base/error.hpp"
#include "data/character_vocabulary.hpp"
#include "data/packing.hpp"

namespace elastic {
namespace {
constexpr int most_misses = 4;  // fills rows better; more would favour short problems too much
}

index_t ReasoningSource::vocab_size() const { return CharacterVocabulary::size; }

void ReasoningSource::fill(Split split, index_t sample, Row row) const {
  ELASTIC_REQUIRE(sample >= 0, "sample {}", sample);
  if (row.length() < m_problems.longest_document())
    throw InputError(fmt::format(
        "reasoning problems: sequences of {} tokens; problems of these sizes need up to {}",
        row.length(), m_problems.longest_document()));
  RowPacker packer(row);
  int misses = 0;
  // No document is shorter than one token, so that no other row reaches problem (r + 1) L.
  for (index_t i = 0; i < row.length() && packer.space() > 0 && misses < most_misses; ++i) {
    const Problem problem = m_problems.problem(split, sample * row.length() + i);
    if (!packer.add(m_problems.document(problem))) ++misses;
  }
  packer.finish(CharacterVocabulary::pad);
}

}  // namespace elastic
