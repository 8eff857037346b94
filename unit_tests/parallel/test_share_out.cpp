// SPDX-License-Identifier: Apache-2.0
// Every piece is done once, and nobody is much busier than the best sharing out allows.
#include "parallel/share_out.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

double busiest(const std::vector<double>& work, const std::vector<index_t>& worker_of,
               index_t workers) {
  std::vector<double> load(static_cast<std::size_t>(workers), 0.0);
  for (std::size_t i = 0; i < work.size(); ++i)
    load.at(static_cast<std::size_t>(worker_of.at(i))) += work[i];
  return *std::max_element(load.begin(), load.end());
}

/// The best there is, by trying everything.
double best(const std::vector<double>& work, index_t workers) {
  std::vector<index_t> worker_of(work.size(), 0);
  double least = busiest(work, worker_of, workers);
  for (;;) {
    std::size_t i = 0;
    while (i < work.size() && ++worker_of[i] == workers) worker_of[i++] = 0;
    if (i == work.size()) return least;
    least = std::min(least, busiest(work, worker_of, workers));
  }
}

TEST(ShareOut, LongestFirstToTheOneWithLeast) {
  EXPECT_EQ(share_out({2, 5, 3, 4}, 2), (std::vector<index_t>{0, 0, 1, 1}));
  EXPECT_EQ(share_out({1, 1, 1, 1, 1}, 3), (std::vector<index_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(share_out({1, 2}, 4), (std::vector<index_t>{1, 0}));
  EXPECT_EQ(share_out({}, 2), std::vector<index_t>());
  EXPECT_EQ(share_out({3, 1}, 1), (std::vector<index_t>{0, 0}));
  EXPECT_THROW(share_out({1}, 0), ContractError);
}

TEST(ShareOut, IsWithinGrahamsBoundOfTheBest) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Draw draw(seed);
    const index_t workers = 2 + static_cast<index_t>(seed % 3);
    std::vector<double> work(3 + seed % 6);
    for (double& w : work) w = draw.uniform();
    const double bound = 4.0 / 3 - 1 / (3 * static_cast<double>(workers));
    EXPECT_LE(busiest(work, share_out(work, workers), workers),
              bound * best(work, workers) * (1 + 1e-12))
        << seed;
  }
}

TEST(ShareOut, ManyPiecesLeaveNobodyWaiting) {
  std::vector<double> work;
  for (int i = 0; i < 96; ++i) work.push_back(i % 3 == 0 ? 1 : i % 3 == 1 ? 0.75 : 0.5);
  const double mean = std::accumulate(work.begin(), work.end(), 0.0) / 8;
  EXPECT_LT(busiest(work, share_out(work, 8), 8), 1.03 * mean);
}

}  // namespace
}  // namespace elastic::test
