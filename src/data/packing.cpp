// SPDX-License-Identifier: Apache-2.0
// Packing of documents into rows.
#include "data/packing.hpp"

#include "base/error.hpp"

namespace elastic {

bool RowPacker::add(const Document& document) {
  const auto count = document.tokens.size();
  ELASTIC_REQUIRE(document.weight.size() == count, "{} tokens, {} weights", count,
                  document.weight.size());
  if (static_cast<index_t>(count) > space()) return false;
  const auto first = static_cast<std::size_t>(m_used);
  add_piece(document.tokens, static_cast<index_t>(count));
  for (std::size_t i = 1; i < count; ++i) m_row.weight[first + i - 1] = document.weight[i];
  return true;
}

void RowPacker::add_piece(std::span<const token_t> text, index_t count,
                          std::span<const float> counts) {
  const auto n = static_cast<std::size_t>(count);
  ELASTIC_REQUIRE(count >= 0 && count <= space(), "{} tokens, space for {}", count, space());
  ELASTIC_REQUIRE(text.size() == n || text.size() == n + 1, "{} tokens for {}", text.size(), n);
  ELASTIC_REQUIRE(counts.empty() || counts.size() == text.size(), "{} tokens, {} of them counted",
                  text.size(), counts.size());
  if (count == 0) return;
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(m_used) + i;
    const bool has_target = i + 1 < text.size();
    m_row.tokens[at] = text[i];
    m_row.targets[at] = has_target ? text[i + 1] : 0;
    m_row.segment[at] = m_segment;
    m_row.weight[at] = !has_target ? 0.0f : counts.empty() ? 1.0f : counts[i + 1];
  }
  m_used += count;
  ++m_segment;
}

void RowPacker::finish(token_t pad) {
  for (auto at = static_cast<std::size_t>(m_used); at < m_row.tokens.size(); ++at) {
    m_row.tokens[at] = pad;
    m_row.targets[at] = 0;
    m_row.segment[at] = m_segment;
    m_row.weight[at] = 0;
  }
  m_used = m_row.length();
}

}  // namespace elastic
