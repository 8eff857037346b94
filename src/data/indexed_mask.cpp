// SPDX-License-Identifier: Apache-2.0
// PREFIX.mask of an indexed dataset: which of its tokens count as targets.
#include <algorithm>

#include "base/error.hpp"
#include "data/indexed_dataset.hpp"

namespace elastic {
namespace {
template <class... Args>
[[noreturn]] void refuse(const MappedFile& file, fmt::format_string<Args...> format,
                         Args&&... args) {
  throw InputError(file.path() + ": " + fmt::format(format, std::forward<Args>(args)...));
}
}  // namespace

void IndexedDataset::check_mask() const {
  const std::int64_t item = static_cast<std::int64_t>(m_item_size), ids = m_bin.size() / item;
  if (m_mask->size() != ids)
    refuse(*m_mask, "{} bytes; expected {}, one for each id of {}", m_mask->size(), ids,
           m_bin.path());
  for (std::size_t s = 0; s < m_num_sequences; ++s)
    if (sequence_length(s) > 0 && sequence_offset(s) % item != 0)
      refuse(*m_mask, "sequence {} of {} begins at byte {}, between two ids of {} bytes", s,
             m_idx.path(), sequence_offset(s), item);
}

template <class Body>
void IndexedDataset::for_each_mask_piece(index_t first, index_t count, const Body& body) const {
  const auto after = std::upper_bound(m_sequence_start.begin(), m_sequence_start.end(), first);
  auto s = static_cast<std::size_t>(after - m_sequence_start.begin()) - 1;
  for (const index_t end = first + count; first < end; ++s) {
    const index_t piece = std::min(end, m_sequence_start[s + 1]) - first;
    if (piece == 0) continue;  // sequences may be empty
    const auto place = static_cast<std::size_t>(sequence_offset(s)) / m_item_size +
                       static_cast<std::size_t>(first - m_sequence_start[s]);
    if (!body(m_mask->bytes().subspan(place, static_cast<std::size_t>(piece)))) return;
    first += piece;
  }
}

void IndexedDataset::refuse_count(const std::byte* place) const {
  refuse(*m_mask, "byte {} is {}; expected 1 (the token counts as a target) or 0",
         place - m_mask->bytes().data(), std::to_integer<int>(*place));
}

void IndexedDataset::read_counts(index_t first, std::span<float> out) const {
  if (!m_mask) return std::fill(out.begin(), out.end(), 1.0f);
  auto to = out.begin();
  for_each_mask_piece(first, static_cast<index_t>(out.size()), [&](auto bytes) {
    for (const std::byte& b : bytes) {
      if (b > std::byte{1}) refuse_count(&b);
      *to++ = static_cast<float>(std::to_integer<int>(b));
    }
    return true;
  });
}

void IndexedDataset::read_counts(index_t d, index_t begin, std::span<float> out) const {
  const auto count = static_cast<index_t>(out.size());
  ELASTIC_REQUIRE(begin >= 0 && count <= document_length(d) - begin, "[{}, {}) of {} tokens", begin,
                  begin + count, document_length(d));
  read_counts(document_start(d) + begin, out);
}

index_t IndexedDataset::num_targets(index_t d) const {
  const index_t behind_first = std::max<index_t>(0, document_length(d) - 1);
  if (!m_mask) return behind_first;
  index_t count = 0;
  for_each_mask_piece(document_start(d) + 1, behind_first, [&](auto bytes) {
    count += std::count(bytes.begin(), bytes.end(), std::byte{1});
    return true;
  });
  return count;
}

bool IndexedDataset::has_target(index_t d) const {
  const index_t behind_first = std::max<index_t>(0, document_length(d) - 1);
  if (!m_mask) return behind_first > 0;
  bool found = false;
  for_each_mask_piece(document_start(d) + 1, behind_first, [&](auto bytes) {
    found = std::find(bytes.begin(), bytes.end(), std::byte{1}) != bytes.end();
    return !found;
  });
  return found;
}

}  // namespace elastic
