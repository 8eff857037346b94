// SPDX-License-Identifier: Apache-2.0
// Units on ranks: every unit on one rank, prefixes stay prefixes, equal shares.
#include "base/shard.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace elastic::test {
namespace {

TEST(Shard, EveryUnitIsOnOneRank) {
  for (const index_t count : {0, 1, 5, 16, 23})
    for (const int ranks : {1, 2, 3, 8}) {
      std::vector<int> seen(static_cast<std::size_t>(count), 0);
      for (int r = 0; r < ranks; ++r)
        for (index_t i = 0; i < local_count(count, {r, ranks}); ++i)
          ++seen.at(static_cast<std::size_t>(global_index(i, {r, ranks})));
      EXPECT_EQ(seen, std::vector<int>(static_cast<std::size_t>(count), 1)) << ranks << " ranks";
    }
}

TEST(Shard, SharesDifferByOneUnitAtMost) {
  for (index_t count = 0; count < 20; ++count)
    for (int r = 0; r < 3; ++r) {
      EXPECT_GE(local_count(count, {r, 3}), count / 3);
      EXPECT_LE(local_count(count, {r, 3}), (count + 2) / 3);
    }
}

TEST(Shard, APrefixIsAPrefixOnEveryRank) {
  for (index_t kept = 0; kept <= 11; ++kept)
    for (int r = 0; r < 4; ++r) {
      const Shard shard{r, 4};
      const index_t mine = local_count(kept, shard);
      for (index_t i = 0; i < local_count(index_t(11), shard); ++i)
        EXPECT_EQ(global_index(i, shard) < kept, i < mine) << "unit " << i << " of rank " << r;
    }
}

TEST(Shard, ExtentsInUnitsOfSeveral) {
  // Units of 3 in an extent of 15: 0..2 | 3..5 | 6..8 | 9..11 | 12..14.
  EXPECT_EQ(local_count(15, 3, {0, 2}), 9);
  EXPECT_EQ(local_count(15, 3, {1, 2}), 6);
  EXPECT_EQ(global_index(4, 3, {1, 2}), 10);  // index 1 of unit 3
  EXPECT_EQ(global_index(6, 3, {0, 2}), 12);
  // Unit 0: every rank has all.
  EXPECT_EQ(local_count(15, 0, {1, 2}), 15);
  EXPECT_EQ(global_index(7, 0, {1, 2}), 7);
}

TEST(Shard, FewerUnitsThanRanksLeaveSomeWithout) {
  EXPECT_EQ(local_count(2, {0, 4}), 1);
  EXPECT_EQ(local_count(2, {1, 4}), 1);
  EXPECT_EQ(local_count(2, {2, 4}), 0);
  EXPECT_EQ(local_count(2, {3, 4}), 0);
}

}  // namespace
}  // namespace elastic::test
