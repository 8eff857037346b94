// SPDX-License-Identifier: Apache-2.0
// Whole tensors from sharded parts and flat ranges, and back, on groups of 1, 2, ... ranks.
#include "parallel/whole_tensors.hpp"

#include "comm/split_collectives.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

template <class Body>
void on_groups(const Body& body) {
  const auto world = Communicator::world();
  for (int size = 1; size <= world.size(); ++size) {
    const auto group = world.split(world.rank() < size ? 0 : 1);
    if (world.rank() < size) body(group);
  }
}

TEST(WholeTensors, PartsOfShardsAndTheWholeAgree) {
  // Rows, columns, in units or not at all; fewer units than ranks; an empty matrix.
  for (const ShardedMatrix& matrix :
       {ShardedMatrix{12, 5, 2, 0}, ShardedMatrix{5, 12, 0, 3}, ShardedMatrix{7, 3, 1, 0},
        ShardedMatrix{1, 10, 0, 1}, ShardedMatrix{2, 3, 2, 0}, ShardedMatrix{4, 6, 0, 0},
        ShardedMatrix{0, 5, 1, 0}})
    on_groups([&](const Communicator& group) {
      const Shard shard{group.rank(), group.size()};
      std::vector<double> whole(matrix.rows * matrix.columns);
      for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = double(i) + 0.5;
      const View2<double> mine("elastic::test", matrix.local_rows(shard),
                               matrix.local_columns(shard));
      take_shard<double>(whole.data(), matrix, shard, mine);
      const auto h_mine = to_host(mine);
      for (index_t i = 0; i < matrix.local_rows(shard); ++i)
        for (index_t j = 0; j < matrix.local_columns(shard); ++j)
          EXPECT_EQ(h_mine[i * matrix.local_columns(shard) + j],
                    whole[global_index(i, matrix.row_unit, shard) * matrix.columns +
                          global_index(j, matrix.column_unit, shard)]);
      const auto gathered = gather_shards<double>(group, matrix, mine);
      EXPECT_EQ(gathered, group.is_root() ? whole : std::vector<double>{});
    });
}

TEST(WholeTensors, RefuseWhatIsNotShardedInWholeUnits) {
  const std::vector<float> whole(12);
  EXPECT_THROW(take_shard<float>(whole.data(), ShardedMatrix{4, 3, 3, 0}, Shard{}), ContractError);
  EXPECT_THROW(take_shard<float>(whole.data(), ShardedMatrix{4, 3, 1, 1}, Shard{}), ContractError);
  const View2<float> wrong("elastic::test", 3, 3);
  EXPECT_THROW(take_shard<float>(whole.data(), ShardedMatrix{4, 3, 1, 0}, Shard{}, wrong),
               ContractError);
}

TEST(WholeTensors, FromRangesWithSignsOfZero) {
  on_groups([&](const Communicator& group) {
    // Element i belongs to rank (i / 3) mod ranks; the last ten to nobody; the last rank has none.
    const index_t count = 50;
    const int holders = std::max(1, group.size() - 1);
    std::vector<float> whole(count, 0.0f), mine;
    std::vector<Range> ranges;
    for (index_t begin = 0; begin < 40; begin += 3) {
      const index_t end = std::min<index_t>(begin + 3, 40);
      for (index_t i = begin; i < end; ++i) whole[i] = i % 7 == 0 ? -0.0f : float(i);
      if (begin / 3 % holders != group.rank()) continue;
      ranges.emplace_back(begin, end);
      mine.insert(mine.end(), whole.begin() + begin, whole.begin() + end);
    }
    const auto gathered = gather_ranges<float>(group, count, ranges, mine.data());
    if (group.is_root())
      EXPECT_TRUE(bitwise_equal(gathered, whole));
    else
      EXPECT_TRUE(gathered.empty());
  });
}

TEST(WholeTensors, OfStoredValuesBitByBit) {
  on_groups([&](const Communicator& group) {
    const ShardedMatrix matrix{12, 5, 2, 0};
    const Shard shard{group.rank(), group.size()};
    std::vector<bfloat16> whole;
    for (int i = 0; i < 60; ++i) whole.push_back(bfloat16::from_bits(i * 1091));
    const View2<bfloat16> mine("elastic::test", matrix.local_rows(shard), 5);
    take_shard<bfloat16>(whole.data(), matrix, shard, mine);
    const auto gathered = gather_shards<bfloat16>(group, matrix, mine);
    const auto range = part_of(60, group.rank(), group.size());
    const auto joined = gather_ranges<bfloat16>(group, 60, {range}, whole.data() + range.first);
    if (!group.is_root()) return;
    EXPECT_TRUE(bitwise_equal(gathered, whole));
    EXPECT_TRUE(bitwise_equal(joined, whole));
  });
}

}  // namespace
}  // namespace elastic::test
