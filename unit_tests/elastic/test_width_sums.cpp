// SPDX-License-Identifier: Apache-2.0
// Sums of widths against all combinations, and what merging leaves.
#include "elastic/width_sums.hpp"

#include <gmock/gmock.h>

#include <functional>
#include <map>

#include "base/error.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

using Items = std::vector<std::vector<WidthItem>>;

Items random_items(std::uint64_t seed, std::size_t layers, index_t choices) {
  Draw draw(seed);
  Items items(layers);
  for (auto& layer : items)
    for (index_t i = draw.between(1, choices); i > 0; --i)
      layer.push_back({4 * draw.between(1, 6), draw.between(1, 3), -draw.uniform()});
  return items;
}

/// The best log-probability of every sum of the first `count` layers, by trying all.
std::map<std::array<index_t, 3>, double> all_sums(const Items& items, std::size_t count) {
  std::map<std::array<index_t, 3>, double> best;
  const std::function<void(std::size_t, std::array<index_t, 3>, double)> descend =
      [&](std::size_t n, std::array<index_t, 3> sum, double log_pi) {
        if (n == count) {
          const auto [place, fresh] = best.emplace(sum, log_pi);
          if (!fresh) place->second = std::max(place->second, log_pi);
          return;
        }
        for (const auto& item : items[n])
          descend(n + 1,
                  {sum[0] + item.width, sum[1] + item.width * item.head_channels,
                   sum[2] + item.head_channels},
                  log_pi + item.log_pi);
      };
  descend(0, {}, 0);
  return best;
}

/// That the choices behind each sum have that sum and that log-probability.
void expect_choices_give(const WidthSums& sums, std::size_t count) {
  for (std::size_t s = 0; s < sums.of_first(count).size(); ++s) {
    const auto& expected = sums.of_first(count)[s];
    const auto choices = sums.choices(count, s);
    ASSERT_EQ(choices.size(), count);
    WidthSum sum;
    for (std::size_t n = 0; n < count; ++n) {
      const auto& item = sums.items()[n].at(choices[n]);
      sum.sum[0] += item.width;
      sum.sum[1] += item.width * item.head_channels;
      sum.sum[2] += item.head_channels;
      sum.log_pi += item.log_pi;
    }
    EXPECT_EQ(sum.sum, expected.sum);
    EXPECT_NEAR(sum.log_pi, expected.log_pi, 1e-12);
  }
}

TEST(WidthSums, HoldsEverySumWithItsLikeliestChoice) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto items = random_items(seed, 5, 5);
    const WidthSums sums(items);
    EXPECT_EQ(sums.error(), 0);
    for (std::size_t count = 0; count <= items.size(); ++count) {
      const auto expected = all_sums(items, count);
      const auto& found = sums.of_first(count);
      ASSERT_EQ(found.size(), expected.size());
      for (const auto& s : found) EXPECT_NEAR(s.log_pi, expected.at(s.sum), 1e-12);
      expect_choices_give(sums, count);
    }
  }
}

TEST(WidthSums, TwentyEightLayersOfFiveWidthsHaveFewSums) {
  const std::vector<WidthItem> widths = {
      {20480, 1, -1}, {17920, 1, -2}, {15360, 1, -1.5}, {12800, 1, -3}, {10240, 1, -0.5}};
  EXPECT_EQ(WidthSums(Items(28, widths)).of_first(28).size(), 28u * 4 + 1);
}

TEST(WidthSums, MergedSumsAreExactAndNearTheOnesLeftOut) {
  const auto items = random_items(3, 7, 6);
  const std::size_t most = 40;
  const WidthSums sums(items, most);
  const auto all = all_sums(items, items.size());
  ASSERT_GT(all.size(), 2 * most);
  const auto& left = sums.of_first(items.size());
  EXPECT_LE(left.size(), most);
  EXPECT_GT(sums.error(), 0);
  expect_choices_give(sums, items.size());
  std::array<index_t, 3> full{};
  for (const auto& [sum, log_pi] : all)
    for (std::size_t c = 0; c < 3; ++c) full[c] = std::max(full[c], sum[c]);
  for (const auto& found : all) {
    const auto& sum = found.first;
    const double log_pi = found.second;
    const auto near = [&](const WidthSum& other) {
      for (std::size_t c = 0; c < 3; ++c)
        if (std::abs(static_cast<double>(other.sum[c] - sum[c])) >
            sums.error() * static_cast<double>(full[c]))
          return false;
      return other.log_pi >= log_pi - 1e-12;
    };
    EXPECT_TRUE(std::any_of(left.begin(), left.end(), near)) << sum[0] << " " << sum[1];
  }
}

TEST(WidthSums, ALayerNeedsAChoice) { EXPECT_THROW(WidthSums({{{4, 1, 0}}, {}}), ContractError); }

}  // namespace
}  // namespace elastic::test
