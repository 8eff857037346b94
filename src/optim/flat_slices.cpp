// SPDX-License-Identifier: Apache-2.0
#include "optim/flat_slices.hpp"

#include "comm/split_collectives.hpp"

namespace elastic {

FlatSlices::FlatSlices(index_t count, int ranks, index_t elements_per_bucket)
    : m_count(count), m_ranks(ranks), m_bucket_size(elements_per_bucket) {
  ELASTIC_REQUIRE(count >= 0 && ranks >= 1 && elements_per_bucket >= 1,
                  "{} elements for {} ranks in buckets of {}", count, ranks, elements_per_bucket);
}

Range FlatSlices::bucket(index_t k) const {
  ELASTIC_REQUIRE(0 <= k && k < num_buckets(), "bucket {} of {}", k, num_buckets());
  const index_t end = m_count - k * m_bucket_size;
  return {std::max<index_t>(end - m_bucket_size, 0), end};
}

std::vector<index_t> FlatSlices::offsets(index_t k) const {
  const Range all = bucket(k);
  return equal_parts(all.second - all.first, m_ranks);
}

Range FlatSlices::slice(index_t k, int rank) const {
  const Range all = bucket(k), part = part_of(all.second - all.first, rank, m_ranks);
  return {all.first + part.first, all.first + part.second};
}

void FlatSlices::for_each_owner(Range elements,
                                const std::function<void(int, index_t, index_t)>& body) const {
  ELASTIC_REQUIRE(0 <= elements.first && elements.second <= m_count, "elements [{}, {}) of {}",
                  elements.first, elements.second, m_count);
  for (index_t at = elements.first; at < elements.second;) {
    const index_t k = (m_count - 1 - at) / m_bucket_size;
    const index_t begin = bucket(k).first, end = std::min(bucket(k).second, elements.second);
    const auto offsets_here = offsets(k);
    for (int r = 0; r < m_ranks && at < end; ++r) {
      const index_t last = std::min(begin + offsets_here[static_cast<std::size_t>(r) + 1], end);
      if (last <= at) continue;
      body(r, at, last);
      at = last;
    }
  }
}

std::vector<Range> FlatSlices::of(int rank) const {
  std::vector<Range> ranges;
  for (index_t k = num_buckets() - 1; k >= 0; --k) {
    const Range next = slice(k, rank);
    if (next.first == next.second) continue;
    if (!ranges.empty() && ranges.back().second == next.first)
      ranges.back().second = next.second;
    else
      ranges.push_back(next);
  }
  return ranges;
}

index_t total_length(const std::vector<Range>& ranges) {
  index_t length = 0;
  for (const auto& range : ranges) length += range.second - range.first;
  return length;
}

FlatSlices optimizer_slices(index_t num_elements, int owners) {
  // Buckets are large enough for the network and small enough to overlap with the backward pass.
  constexpr index_t smallest = index_t(1) << 16, largest = index_t(1) << 24, wanted_buckets = 16;
  return {num_elements, owners, std::clamp(num_elements / wanted_buckets, smallest, largest)};
}

}  // namespace elastic
