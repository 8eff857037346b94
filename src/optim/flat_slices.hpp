// SPDX-License-Identifier: Apache-2.0
// Who owns which elements of a flat buffer that every rank holds: the shards of the optimizer
// (Rajbhandari et al. 2020, ZeRO stage 1).
//
//   |<------ bucket 1 ------>|<------ bucket 0 ------>|
//   | rank 0 | rank 1 | ...  | rank 0 | rank 1 | ...  |
//
// Buckets count from the end, the order in which the backward pass completes gradients.
//
//   const FlatSlices slices(store.num_elements(), data.size(), 1 << 22);
//   AdamW<float> optimizer(store, slices.of(data.rank()));
#pragma once
#include <algorithm>
#include <functional>
#include <vector>

#include "base/parameter.hpp"

namespace elastic {

/// Every bucket is cut into one slice per rank.
/// Lengths differ by one element at most and may be zero.
class FlatSlices {
 public:
  /// `count` elements, `ranks` owners. The bucket at the front may be shorter than the others.
  FlatSlices(index_t count, int ranks, index_t elements_per_bucket);

  index_t count() const { return m_count; }
  int ranks() const { return m_ranks; }
  index_t num_buckets() const { return (m_count + m_bucket_size - 1) / m_bucket_size; }
  /// Elements of bucket k.
  Range bucket(index_t k) const;
  /// Begin of every rank's slice in bucket k, and the end of the last, counted from the begin
  /// of the bucket: [ranks + 1].
  std::vector<index_t> offsets(index_t k) const;
  /// Elements of bucket k that `rank` owns.
  Range slice(index_t k, int rank) const;
  /// Calls body(rank, begin, end), in order, for the pieces of `elements`, each with its owner.
  void for_each_owner(Range elements, const std::function<void(int, index_t, index_t)>& body) const;
  /// All elements that `rank` owns, rising; neighbours are one range, none is empty.
  std::vector<Range> of(int rank) const;

 private:
  index_t m_count;
  int m_ranks;
  index_t m_bucket_size;
};

/// The number of elements in disjoint ranges.
index_t total_length(const std::vector<Range>& ranges);

/// Calls body(parameter, begin, end), in order, for every piece [begin, end) of the flat buffers
/// that lies in one tensor and in one of `ranges` (rising).
template <class T, class Body>
void for_each_piece(const ParameterStore<T>& store, const std::vector<Range>& ranges,
                    const Body& body) {
  auto range = ranges.begin();
  for (const auto& parameter : store) {
    const index_t end = parameter.offset + parameter.size();
    while (range != ranges.end() && range->second <= parameter.offset) ++range;
    for (auto r = range; r != ranges.end() && r->first < end; ++r) {
      const index_t first = std::max(r->first, parameter.offset), last = std::min(r->second, end);
      if (first < last) body(parameter, first, last);
    }
  }
}

/// Which elements of a store's optimizer state each of `owners` ranks owns.
FlatSlices optimizer_slices(index_t num_elements, int owners);
template <class T>
FlatSlices optimizer_slices(const ParameterStore<T>& store, int owners) {
  return optimizer_slices(store.num_elements(), owners);
}

}  // namespace elastic
