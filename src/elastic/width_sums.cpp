// SPDX-License-Identifier: Apache-2.0
#include "elastic/width_sums.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace elastic {
namespace {

/// Keeps the likeliest of equal sums; `sums` are sorted.
void keep_likeliest(std::vector<WidthSum>& sums) {
  std::size_t kept = 0;
  for (const auto& candidate : sums) {
    if (kept == 0 || sums[kept - 1].sum != candidate.sum)
      sums[kept++] = candidate;
    else if (candidate.log_pi > sums[kept - 1].log_pi)
      sums[kept - 1] = candidate;
  }
  sums.resize(kept);
}

/// The numbers of the buckets that sums lie in, for buckets of full * 2^-bits.
std::array<index_t, 3> bucket(const std::array<index_t, 3>& sum, const std::array<index_t, 3>& full,
                              int bits) {
  std::array<index_t, 3> result{};
  for (std::size_t c = 0; c < sum.size(); ++c)
    if (full[c] > 0)
      result[c] = static_cast<index_t>(std::ldexp(static_cast<double>(sum[c]), bits) /
                                       static_cast<double>(full[c]));
  return result;
}

}  // namespace

WidthSums::WidthSums(std::vector<std::vector<WidthItem>> items, std::size_t most)
    : m_items(std::move(items)), m_steps{{WidthSum{}}} {
  for (const auto& layer : m_items) {
    ELASTIC_REQUIRE(!layer.empty(), "layer {} of {} has no choice", m_steps.size() - 1,
                    m_items.size());
    m_steps.push_back(step(m_steps.back(), layer));
    if (m_steps.back().size() > most) merge(m_steps.back(), most);
  }
}

/// Adding an item keeps sums in order, so that sorted lists are merged.
std::vector<WidthSum> WidthSums::step(const std::vector<WidthSum>& sums,
                                      const std::vector<WidthItem>& items) const {
  const auto by_sum = [](const WidthSum& a, const WidthSum& b) { return a.sum < b.sum; };
  std::vector<WidthSum> all, moved, merged;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& item = items[i];
    moved.clear();
    for (std::size_t n = 0; n < sums.size(); ++n)
      moved.push_back(
          {{sums[n].sum[0] + item.width, sums[n].sum[1] + item.width * item.head_channels,
            sums[n].sum[2] + item.head_channels},
           sums[n].log_pi + item.log_pi,
           static_cast<int>(n),
           static_cast<int>(i)});
    merged.resize(all.size() + moved.size());
    std::merge(all.begin(), all.end(), moved.begin(), moved.end(), merged.begin(), by_sum);
    keep_likeliest(merged);
    std::swap(all, merged);
  }
  return all;
}

void WidthSums::merge(std::vector<WidthSum>& sums, std::size_t most) {
  std::array<index_t, 3> full{};
  for (const auto& s : sums)
    for (std::size_t c = 0; c < full.size(); ++c) full[c] = std::max(full[c], s.sum[c]);
  struct Bucketed {
    std::array<index_t, 3> bucket;
    WidthSum sum;
  };
  std::vector<Bucketed> all(sums.size());
  for (int bits = 30; bits > 0; --bits) {
    for (std::size_t i = 0; i < sums.size(); ++i)
      all[i] = {bucket(sums[i].sum, full, bits), sums[i]};
    std::sort(all.begin(), all.end(), [](const Bucketed& a, const Bucketed& b) {
      return std::tie(a.bucket, b.sum.log_pi, a.sum.sum) <
             std::tie(b.bucket, a.sum.log_pi, b.sum.sum);
    });
    all.erase(std::unique(all.begin(), all.end(),
                          [](const auto& a, const auto& b) { return a.bucket == b.bucket; }),
              all.end());
    if (all.size() <= most) {
      m_error += std::ldexp(1.0, -bits);
      break;
    }
    all.resize(sums.size());
  }
  sums.clear();
  for (const auto& b : all) sums.push_back(b.sum);
  std::sort(sums.begin(), sums.end(),
            [](const WidthSum& a, const WidthSum& b) { return a.sum < b.sum; });
}

std::vector<std::size_t> WidthSums::choices(std::size_t count, std::size_t sum) const {
  std::vector<std::size_t> result(count);
  int at = static_cast<int>(sum);
  for (std::size_t n = count; n > 0; --n) {
    const auto& s = m_steps[n].at(static_cast<std::size_t>(at));
    result[n - 1] = static_cast<std::size_t>(s.item);
    at = s.previous;
  }
  return result;
}

}  // namespace elastic
