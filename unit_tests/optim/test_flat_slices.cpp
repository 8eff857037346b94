// SPDX-License-Identifier: Apache-2.0
// Slices cover a flat buffer once, whatever the number of ranks; pieces know their tensors.
#include "optim/flat_slices.hpp"

#include <gtest/gtest.h>

namespace elastic::test {
namespace {

TEST(FlatSlices, CoverEveryElementOnce) {
  for (const index_t count : {0, 1, 7, 64, 1001})
    for (const int ranks : {1, 2, 3, 8})
      for (const index_t bucket : {1, 5, 64, 5000}) {
        const FlatSlices slices(count, ranks, bucket);
        std::vector<int> owners(count, 0);
        index_t shortest = count, longest = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          const auto ranges = slices.of(rank);
          for (std::size_t i = 0; i < ranges.size(); ++i) {
            EXPECT_LT(ranges[i].first, ranges[i].second);
            if (i > 0) {
              EXPECT_LT(ranges[i - 1].second, ranges[i].first);
            }
            for (index_t e = ranges[i].first; e < ranges[i].second; ++e) ++owners[e];
          }
          shortest = std::min(shortest, total_length(ranges));
          longest = std::max(longest, total_length(ranges));
        }
        for (const int owned : owners) EXPECT_EQ(owned, 1);
        EXPECT_LE(longest - shortest, slices.num_buckets());
      }
}

TEST(FlatSlices, BucketsGoFromTheEndToTheFront) {
  const FlatSlices slices(23, 2, 10);
  ASSERT_EQ(slices.num_buckets(), 3);
  EXPECT_EQ(slices.bucket(0), Range(13, 23));
  EXPECT_EQ(slices.bucket(1), Range(3, 13));
  EXPECT_EQ(slices.bucket(2), Range(0, 3));
  EXPECT_EQ(slices.slice(0, 1), Range(18, 23));
  EXPECT_EQ(slices.slice(2, 0), Range(0, 1));
  EXPECT_EQ(slices.offsets(2), (std::vector<index_t>{0, 1, 3}));
  EXPECT_EQ(slices.of(1), (std::vector<Range>{{1, 3}, {8, 13}, {18, 23}}));
  EXPECT_THROW(slices.bucket(3), ContractError);
  EXPECT_THROW(FlatSlices(10, 0, 5), ContractError);
}

TEST(FlatSlices, PiecesOfARangeKnowTheirOwners) {
  for (const index_t count : {1, 23, 64, 1001})
    for (const int ranks : {1, 2, 3, 8})
      for (const index_t size : {1, 5, 64, 5000}) {
        const FlatSlices slices(count, ranks, size);
        std::vector<int> owners(count, -1);
        for (int rank = 0; rank < ranks; ++rank)
          for (const Range& range : slices.of(rank))
            for (index_t e = range.first; e < range.second; ++e) owners[e] = rank;
        for (const Range& elements :
             {Range(0, count), Range(count / 3, count - count / 4), Range(count / 2, count / 2)}) {
          index_t at = elements.first;
          slices.for_each_owner(elements, [&](int rank, index_t begin, index_t end) {
            EXPECT_EQ(begin, at);
            EXPECT_LT(begin, end);
            for (index_t e = begin; e < end; ++e) EXPECT_EQ(owners[e], rank);
            at = end;
          });
          EXPECT_EQ(at, elements.second);
        }
      }
  EXPECT_THROW(FlatSlices(10, 1, 5).for_each_owner({5, 11}, [](int, index_t, index_t) {}),
               ContractError);
}

TEST(FlatSlices, OfOneRankAreOneRange) {
  EXPECT_EQ(FlatSlices(1000, 1, 64).of(0), (std::vector<Range>{{0, 1000}}));
  EXPECT_TRUE(FlatSlices(0, 1, 64).of(0).empty());
}

TEST(Pieces, AreCutAtTensorsAndRanges) {
  ParameterStore<float> store;
  store.add({.name = "a", .rows = 2, .columns = 5});  // [0, 10)
  store.add({.name = "empty", .columns = 0});
  store.add({.name = "b", .columns = 3});  // [10, 13)
  store.add({.name = "c", .columns = 7});  // [13, 20)
  store.allocate(false);
  std::vector<std::string> pieces;
  for_each_piece(store, {{2, 4}, {6, 12}, {12, 12}, {15, 20}},
                 [&](const Parameter<float>& p, index_t begin, index_t end) {
                   pieces.push_back(fmt::format("{} {}-{}", p.info.name, begin, end));
                 });
  EXPECT_EQ(pieces, (std::vector<std::string>{"a 2-4", "a 6-10", "b 10-12", "c 15-20"}));
}

}  // namespace
}  // namespace elastic::test
