// SPDX-License-Identifier: Apache-2.0
// Sums over the ranks of a tensor-parallel group, and the tokens that each has with sequence
// parallelism, on any number of ranks.
#include "parallel/tensor_parallel.hpp"

#include "comm/collectives.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr index_t tokens = 13, columns = 3;

TensorParallel parallel_over(const Communicator& group, bool sequence_parallel) {
  return TensorParallel(group, sequence_parallel);
}
/// What rank r contributes: small integers, whose sums are exact.
std::vector<double> contribution(int rank) {
  std::vector<double> values;
  for (index_t i = 0; i < tokens * columns; ++i) values.push_back(double(i) + 100 * rank);
  return values;
}
std::vector<double> sum_of_all(int ranks) {
  std::vector<double> sum(tokens * columns);
  for (int r = 0; r < ranks; ++r)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += contribution(r)[i];
  return sum;
}
std::vector<double> rows_of(const std::vector<double>& all, Range range) {
  return {all.begin() + range.first * columns, all.begin() + range.second * columns};
}

TEST(TensorParallel, OneRankHoldsEverything) {
  const TensorParallel one;
  EXPECT_EQ(one.group(), nullptr);
  EXPECT_EQ(one.shard(), Shard{});
  EXPECT_FALSE(one.sequence_parallel());
  Arena arena;
  const auto x = random_matrix<float>(tokens, columns, 1);
  EXPECT_EQ(one.gather(arena, x, tokens).data(), x.data());
  EXPECT_EQ(one.sum<float>(arena, x).data(), x.data());
  EXPECT_EQ(one.sum_all<float>(arena, x).data(), x.data());
  const auto self = Communicator::self();
  EXPECT_FALSE(parallel_over(self, true).sequence_parallel()) << "nothing to share";
  EXPECT_EQ(parallel_over(self, true).group(), nullptr);
}

TEST(TensorParallel, RanksShareTokensOutContiguously) {
  const auto world = Communicator::world();
  const auto shared = parallel_over(world, true), whole = parallel_over(world, false);
  for (const index_t count : {index_t(0), index_t(1), tokens, index_t(64)}) {
    const Range mine = shared.my_tokens(count);
    EXPECT_EQ(all_reduce_sum(world, shared.num_my_tokens(count)), count);
    if (world.is_root()) {
      EXPECT_EQ(mine.first, 0);
    }
    if (world.rank() == world.size() - 1) {
      EXPECT_EQ(mine.second, count);
    }
    EXPECT_EQ(whole.num_my_tokens(count), count);
  }
}

TEST(TensorParallel, BlocksOfMyTokensAreWhatIHaveOfEach) {
  const auto world = Communicator::world();
  const auto shared = parallel_over(world, true);
  const index_t blocks = 4, count = 24;
  const Range mine = shared.my_tokens(count);
  std::vector<index_t> covered(static_cast<std::size_t>(count), 0);
  for (const Range& rows : shared.my_blocks(count, blocks)) {
    EXPECT_LT(rows.first, rows.second) << "blocks without my tokens are left out";
    EXPECT_EQ((mine.first + rows.first) / (count / blocks),
              (mine.first + rows.second - 1) / (count / blocks))
        << "rows of one block";
    for (index_t t = rows.first; t < rows.second; ++t) ++covered.at(mine.first + t);
  }
  all_reduce_sum(world, covered);
  EXPECT_EQ(covered, std::vector<index_t>(static_cast<std::size_t>(count), 1));
}

TEST(TensorParallel, SumLeavesARankItsTokens) {
  const auto world = Communicator::world();
  for (const bool sequence_parallel : {false, true}) {
    const auto parallel = parallel_over(world, sequence_parallel);
    Arena arena;
    const auto partial = to_device(contribution(world.rank()), tokens, columns);
    const auto mine = parallel.sum<double>(arena, partial);
    const auto expected = sum_of_all(world.size());
    EXPECT_TRUE(bitwise_equal(mine, rows_of(expected, parallel.my_tokens(tokens))));
    EXPECT_TRUE(bitwise_equal(parallel.gather(arena, mine, tokens), expected))
        << "gather undoes what sum shared out";
  }
}

TEST(TensorParallel, SumAllGivesEveryRankAllTokens) {
  const auto world = Communicator::world();
  for (const bool sequence_parallel : {false, true}) {
    Arena arena;
    const auto partial = to_device(contribution(world.rank()), tokens, columns);
    const auto sum = parallel_over(world, sequence_parallel).sum_all<double>(arena, partial);
    EXPECT_TRUE(bitwise_equal(sum, sum_of_all(world.size())));
    EXPECT_EQ(sum.data(), partial.data()) << "in place";
  }
}

/// Contributions that no sum of bfloat16 could keep: 1 of the first rank, 2^-8 of each other.
TEST(TensorParallel, SumsOfStoredValuesAreRoundedOnceAtTheEnd) {
  const auto world = Communicator::world();
  const double mine = world.rank() == 0 ? 1 : 0x1p-8, sum = 1 + 0x1p-8 * (world.size() - 1);
  const std::vector<bfloat16> expected(tokens * columns, bfloat16(sum));
  for (const bool sequence_parallel : {false, true}) {
    const auto parallel = parallel_over(world, sequence_parallel);
    const index_t here = parallel.num_my_tokens(tokens);
    const std::vector<bfloat16> expected_here(here * columns, bfloat16(sum));
    Arena arena;
    const View2<float> sums("elastic::test::sums", tokens, columns);
    const View2<bfloat16> values("elastic::test::values", tokens, columns);
    const auto fill = [&] {
      Kokkos::deep_copy(sums, static_cast<float>(mine));
      Kokkos::deep_copy(values, bfloat16(mine));
    };
    fill();
    EXPECT_TRUE(bitwise_equal(parallel.sum<bfloat16>(arena, sums), expected_here));
    EXPECT_TRUE(bitwise_equal(parallel.sum<bfloat16>(arena, values), expected_here));
    fill();
    EXPECT_TRUE(bitwise_equal(parallel.sum_all<bfloat16>(arena, sums), expected));
    EXPECT_TRUE(bitwise_equal(parallel.sum_all<bfloat16>(arena, values), expected));
  }
}

TEST(TensorParallel, GatherEqualPutsRanksBelowEachOther) {
  const auto world = Communicator::world();
  const auto mine = to_device(contribution(world.rank()), tokens, columns);
  const View2<double> all("elastic::test::all", world.size() * tokens, columns);
  parallel_over(world, false).gather_equal(mine, all);
  for (int r = 0; r < world.size(); ++r)
    EXPECT_TRUE(bitwise_equal(rows(all, r * tokens, (r + 1) * tokens), contribution(r)));
}

}  // namespace
}  // namespace elastic::test
