// SPDX-License-Identifier: Apache-2.0
// Puts documents, or pieces of them, one after another into a row; what is left over is padding.
#pragma once
#include "data/token_source.hpp"

namespace elastic {

class RowPacker {
 public:
  explicit RowPacker(Row row) : m_row(row) {}
  /// Appends a whole document unless it is longer than the space left;
  /// then returns false and changes nothing.
  bool add(const Document& document);
  /// Appends the first `count` of `text` as one segment. `text` may hold one token more, the target
  /// of the last. A target that is token i has the weight counts[i]; without `counts` all have 1.
  /// Throws ContractError if there is no space.
  void add_piece(std::span<const token_t> text, index_t count, std::span<const float> counts = {});
  /// Pads the rest of the row with `pad`, in a segment of its own, with weight 0.
  void finish(token_t pad);
  /// Tokens that still fit into the row.
  index_t space() const { return m_row.length() - m_used; }

 private:
  Row m_row;
  index_t m_used = 0;
  token_t m_segment = 0;
};

}  // namespace elastic
