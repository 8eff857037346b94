// SPDX-License-Identifier: Apache-2.0
// Sums of which a rank keeps its part, all-gather, the fixed tree and messages,
// on groups of 1, 2, ... ranks.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "comm/split_collectives.hpp"
#include "comm/tree_sum.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

/// Calls body(group) on the members of the groups of the first 1, 2, ... ranks.
template <class Body>
void on_groups(bool deterministic, const Body& body) {
  auto world = Communicator::world();
  world.set_deterministic(deterministic);
  for (int size = 1; size <= world.size(); ++size) {
    const auto group = world.split(world.rank() < size ? 0 : 1);
    if (world.rank() < size) body(group);
  }
}

template <class T>
std::vector<T> contribution(int rank, index_t count) {
  if constexpr (std::is_integral_v<T>) {
    std::vector<T> values(count);
    for (index_t i = 0; i < count; ++i) values[i] = (index_t(1) << 40) * (rank + 1) + i;
    return values;
  } else {
    return random_values<T>(count, 100 + rank);
  }
}
/// The sum over `ranks` in the fixed tree, written as a recursion: x_j joins the sum of the terms
/// j, j + d, j + 2d, ... when all of them are added.
template <class T>
T sum_of_class(const std::vector<std::vector<T>>& terms, std::size_t i, std::size_t j,
               std::size_t distance) {
  if (distance >= terms.size()) return terms[j][i];
  T sum = sum_of_class(terms, i, j, 2 * distance);
  if (j + distance < terms.size()) sum += sum_of_class(terms, i, j + distance, 2 * distance);
  return sum;
}
template <class T>
std::vector<T> expected_sum(int ranks, index_t count) {
  std::vector<std::vector<T>> terms;
  for (int r = 0; r < ranks; ++r) terms.push_back(contribution<T>(r, count));
  std::vector<T> sum(count);
  for (index_t i = 0; i < count; ++i) sum[i] = sum_of_class(terms, i, 0, 1);
  return sum;
}

template <class T>
class Parts : public testing::Test {};
using Scalars = testing::Types<float, double, index_t>;
TYPED_TEST_SUITE(Parts, Scalars);

/// Lengths 0, 3, 6, ... or the like: uneven, some empty.
std::vector<index_t> uneven_parts(int ranks, index_t step) {
  std::vector<index_t> offsets{0};
  for (int r = 0; r < ranks; ++r) offsets.push_back(offsets.back() + r % 3 * step);
  return offsets;
}

TEST(PartOf, CoversEverythingOnce) {
  for (const index_t count : {0, 1, 3, 8, 1000003})
    for (const int ranks : {1, 2, 3, 7}) {
      const auto offsets = equal_parts(count, ranks);
      ASSERT_EQ(offsets.size(), ranks + 1u);
      EXPECT_EQ(offsets.front(), 0);
      EXPECT_EQ(offsets.back(), count);
      for (int r = 0; r < ranks; ++r) {
        const Range part = part_of(count, r, ranks);
        EXPECT_EQ(part.first, offsets[r]);
        EXPECT_EQ(part.second, offsets[r + 1]);
        EXPECT_GE(part.second - part.first, count / ranks);
        EXPECT_LE(part.second - part.first, count / ranks + 1);
      }
    }
}

TEST(TreeSum, OfShardedClassesHasTheSameBitsForAnyNumberOfRanks) {
  // Eight classes held by one rank, and by 2, 4 and 8: each adds its own, then the ranks theirs.
  const index_t n = 3000;
  const auto sum_over = [&](int ranks) {
    std::vector<float> sums;
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<float> mine;
      for (int c = rank; c < 8; c += ranks) {
        const auto term = contribution<float>(c, n);
        mine.insert(mine.end(), term.begin(), term.end());
      }
      tree_sum(Kokkos::DefaultHostExecutionSpace(), mine.data(), 8 / ranks, n, n);
      sums.insert(sums.end(), mine.begin(), mine.begin() + n);
    }
    tree_sum(Kokkos::DefaultHostExecutionSpace(), sums.data(), ranks, n, n);
    sums.resize(n);
    return sums;
  };
  const auto expected = sum_over(1);
  for (const int ranks : {2, 4, 8})
    EXPECT_TRUE(bitwise_equal(sum_over(ranks), expected)) << ranks << " ranks";
}

TYPED_TEST(Parts, ReduceScatterGivesEachRankItsPart) {
  using T = TypeParam;
  for (const bool deterministic : {false, true})
    for (const index_t step : {1, 700, 400000})  // the last: several pieces
      on_groups(deterministic, [&](const Communicator& group) {
        if (step > 1000 && group.size() != 3) return;
        const auto offsets = uneven_parts(group.size(), step);
        const index_t begin = offsets[group.rank()], count = offsets[group.rank() + 1] - begin;
        std::vector<T> mine(count);
        const auto data = contribution<T>(group.rank(), offsets.back());
        reduce_scatter_sum(group, data.data(), offsets, mine.data());
        auto expected = expected_sum<T>(group.size(), offsets.back());
        expected = {expected.begin() + begin, expected.begin() + begin + count};
        if (deterministic || std::is_integral_v<T>)
          EXPECT_EQ(mine, expected);
        else
          EXPECT_TRUE(near(to_double(mine), to_double(expected), tolerance<double>(16) * 1e9));
      });
}

TYPED_TEST(Parts, AllGatherPutsThePartsTogether) {
  using T = TypeParam;
  for (const index_t largest_call : {index_t(1) << 30, index_t(100)})  // the other: rank by rank
    for (const bool in_place : {false, true})
      on_groups(false, [&](const Communicator& group) {
        const auto offsets = uneven_parts(group.size(), 700);
        const auto expected = contribution<T>(5, offsets.back());
        const auto begin = expected.begin() + offsets[group.rank()],
                   end = expected.begin() + offsets[group.rank() + 1];
        const std::vector<T> mine(begin, end);
        std::vector<T> all(expected.size());
        std::copy(begin, end, all.begin() + offsets[group.rank()]);
        all_gather(group, in_place ? all.data() + offsets[group.rank()] : mine.data(), offsets,
                   all.data(), largest_call);
        EXPECT_EQ(all, expected);
      });
}

TEST(Parts, ReduceScatterInSmallCalls) {
  on_groups(false, [&](const Communicator& group) {
    const auto offsets = uneven_parts(group.size(), 50);
    std::vector<index_t> mine(offsets[group.rank() + 1] - offsets[group.rank()]);
    const auto data = contribution<index_t>(group.rank(), offsets.back());
    reduce_scatter_sum(group, data.data(), offsets, mine.data(), 7);
    const auto expected = expected_sum<index_t>(group.size(), offsets.back());
    EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin() + offsets[group.rank()]));
  });
}

TYPED_TEST(Parts, DeterministicAllReduceIsTheFixedTree) {
  using T = TypeParam;
  on_groups(true, [&](const Communicator& group) {
    for (const index_t count : {index_t(1), index_t(1001), (index_t(1) << 20) + 3}) {
      if (count > 10000 && group.size() != 2) continue;  // several pieces
      auto x = contribution<T>(group.rank(), count);
      all_reduce_sum(group, x);
      EXPECT_EQ(x, expected_sum<T>(group.size(), count));
    }
  });
}

TEST(Rows, OfUnevenBlocksAreSummedAndGathered) {
  for (const index_t rows : {0, 1, 2, 5, 64})  // fewer rows than ranks: some have none
    on_groups(true, [&](const Communicator& group) {
      const index_t columns = 3;
      const auto all = to_device(contribution<float>(group.rank(), rows * columns), rows, columns);
      const Range part = part_of(rows, group.rank(), group.size());
      const View2<float> mine("elastic::test", part.second - part.first, columns);
      reduce_scatter_rows(group, all, mine);
      const View2<float> sum("elastic::test", rows, columns);
      all_gather_rows(group, mine, sum);
      const auto expected = expected_sum<float>(group.size(), rows * columns);
      EXPECT_EQ(to_host(sum), expected);
      EXPECT_TRUE(bitwise_equal(
          mine, clone(elastic::rows(to_device(expected, rows, columns), part.first, part.second))));
    });
}

TEST(Rows, OfTheWrongNumberAreRefused) {
  const auto self = Communicator::self();
  const View2<float> all("elastic::test", 4, 3), mine("elastic::test", 3, 3);
  EXPECT_THROW(reduce_scatter_rows(self, all, mine), ContractError);
  EXPECT_THROW(all_gather_rows(self, mine, all), ContractError);
}

TEST(Vectors, AreSummedAndGathered) {
  on_groups(false, [&](const Communicator& group) {
    const auto all = to_device(contribution<index_t>(group.rank(), 11));
    const Range part = part_of(11, group.rank(), group.size());
    const View1<index_t> mine("elastic::test", part.second - part.first), sum("elastic::test", 11);
    reduce_scatter_sum(group, all, mine);
    all_gather(group, mine, sum);
    EXPECT_EQ(to_host(sum), expected_sum<index_t>(group.size(), 11));
  });
}

TEST(StoredValues, AreGatheredBroadcastAndSentBitByBit) {
  on_groups(true, [&](const Communicator& group) {
    // All kinds of bits: NaNs with payload, subnormal numbers, both zeros.
    std::vector<bfloat16> expected;
    for (int i = 0; i < 1201; ++i) expected.push_back(bfloat16::from_bits(i * 997 % 65536));
    const auto offsets = uneven_parts(group.size(), 400);
    expected.resize(offsets.back());
    const auto begin = expected.begin() + offsets[group.rank()],
               end = expected.begin() + offsets[group.rank() + 1];
    for (const index_t largest_call : {index_t(1) << 30, index_t(100)}) {
      std::vector<bfloat16> all(expected.size(), bfloat16(0));
      const std::vector<bfloat16> mine(begin, end);
      all_gather(group, mine.data(), offsets, all.data(), largest_call);
      EXPECT_TRUE(bitwise_equal(all, expected));
    }
    const auto view =
        to_device(group.is_root() ? expected : std::vector<bfloat16>(expected.size()));
    broadcast(group, view);
    EXPECT_TRUE(bitwise_equal(view, to_device(expected)));
    const View1<bfloat16> received("elastic::test", expected.size());
    const int rank = group.rank(), size = group.size();
    send_receive(group, view, (rank + 1) % size, received, (rank - 1 + size) % size);
    EXPECT_TRUE(bitwise_equal(received, to_device(expected)));
  });
}

template <class... Arguments>
concept SummedByRanks = requires(const Communicator& comm, const Arguments&... arguments) {
  all_reduce_sum(comm, arguments...);
};
template <class View>
concept ReducedInParts = requires(const Communicator& comm, const View& view) {
  reduce_scatter_sum(comm, view, view);
};

TEST(StoredValues, AreNotSummedByRanks) {
  // The program would not compile; sums are formed in Accumulate<bfloat16>.
  EXPECT_FALSE(SummedByRanks<View1<bfloat16>> || SummedByRanks<View2<bfloat16>>);
  EXPECT_FALSE(SummedByRanks<bfloat16> || (SummedByRanks<bfloat16*, index_t>));
  EXPECT_FALSE(ReducedInParts<View1<bfloat16>>);
  EXPECT_TRUE(SummedByRanks<View1<float>> && ReducedInParts<View1<float>>);
  EXPECT_TRUE(SummedByRanks<double> && (SummedByRanks<float*, index_t>));
}

TEST(Extremes, OfArrays) {
  const auto world = Communicator::world();
  const int last = world.size() - 1;
  const auto x = to_device<float>({float(world.rank()), -float(world.rank()), 2});
  all_reduce_max(world, x);
  EXPECT_EQ(to_host(x), (std::vector<float>{float(last), 0, 2}));
  const auto y = to_device<double>({double(world.rank()), -double(world.rank()), 2});
  all_reduce_min(world, y);
  EXPECT_EQ(to_host(y), (std::vector<double>{0, -double(last), 2}));
}

TEST(SendReceive, PassesAlongAChainOfRanks) {
  on_groups(false, [&](const Communicator& group) {
    const int rank = group.rank(), next = rank + 1 < group.size() ? rank + 1 : no_rank;
    // Rank r sends r + 1 rows.
    const View2<float> out("elastic::test", rank + 1, 5), in("elastic::test", rank, 5);
    Kokkos::deep_copy(out, rank);
    Kokkos::deep_copy(in, -7);
    send_receive(group, out, next, in, rank - 1);  // rank -1: nobody
    for (const float value : to_host(in)) EXPECT_EQ(value, rank - 1);
  });
}

TEST(SendReceive, GoesRoundARing) {
  on_groups(false, [&](const Communicator& group) {
    const int rank = group.rank(), size = group.size();
    View1<index_t> out("elastic::test", 100000), in("elastic::test", 100000);
    Kokkos::deep_copy(out, rank);
    for (int round = 1; round < size; ++round) {
      send_receive(group, out, (rank + 1) % size, in, (rank - 1 + size) % size);
      std::swap(out, in);
      EXPECT_EQ(to_host(out)[99999], (rank - round + size) % size);
    }
  });
}

TEST(Messages, TravelWhileOthersArriveInOrder) {
  on_groups(false, [&](const Communicator& group) {
    const int rank = group.rank(), size = group.size();
    const int sent[2] = {rank, rank + 100};
    int received[2] = {};
    Messages first(group), second(group);
    first.receive(&received[0], sizeof(int), (rank + 1) % size);
    second.receive(&received[1], sizeof(int), (rank + 1) % size);
    first.send(&sent[0], sizeof(int), (rank - 1 + size) % size);
    second.send(&sent[1], sizeof(int), (rank - 1 + size) % size);
    second.wait();
    while (!first.done()) {
    }
    EXPECT_TRUE(first.done());
    EXPECT_EQ(received[0], (rank + 1) % size);
    EXPECT_EQ(received[1], (rank + 1) % size + 100);
  });
}

}  // namespace
}  // namespace elastic::test
