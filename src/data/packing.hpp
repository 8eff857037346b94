// SPDX-License-Identifier: Apache-2.0
// Puts whole documents one after another into a row; what is left over is padding.
#pragma once
#include "data/token_source.hpp"

namespace elastic {

class RowPacker {
 public:
  explicit RowPacker(Row row) : m_row(row) {}
  /// Appends `document` unless it is longer than the space left; then returns false and changes nothing.
  bool add(const Document& document);
  /// Pads the rest of the row with `pad`, in a segment of its own, with weight 0.
  void finish(token_t pad);
  index_t space() const { return m_row.length() - m_used; }

 private:
  Row m_row;
  index_t m_used = 0;
  token_t m_segment = 0;
};

}  // namespace elastic
