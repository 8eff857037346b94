// SPDX-License-Identifier: Apache-2.0
// Collectives and agreement, on any number of ranks from 2 on.
#include <gtest/gtest.h>

#include <new>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"

namespace elastic::test {
namespace {

template <class T>
class Sums : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Sums, Scalars);

TEST(World, HasTheRanksOfTheTest) { ASSERT_GE(Communicator::world().size(), 2); }

TYPED_TEST(Sums, OfViewsInPlace) {
  const auto world = Communicator::world();
  View2<TypeParam> view("elastic::test", 5, 7);
  auto h_view = Kokkos::create_mirror_view(view);
  for (index_t i = 0; i < 5; ++i)
    for (index_t j = 0; j < 7; ++j)
      h_view(i, j) = static_cast<TypeParam>((i * 7 + j) * (world.rank() + 1));
  Kokkos::deep_copy(view, h_view);
  all_reduce_sum(world, view);
  Kokkos::deep_copy(h_view, view);
  const int weight = world.size() * (world.size() + 1) / 2;
  for (index_t i = 0; i < 5; ++i)
    for (index_t j = 0; j < 7; ++j) EXPECT_EQ(h_view(i, j), (i * 7 + j) * weight);
  all_reduce_sum(world, View1<TypeParam>());
}

TEST(Scalar, SumMaxMin) {
  const auto world = Communicator::world();
  const int rank = world.rank(), size = world.size();
  EXPECT_EQ(all_reduce_sum(world, index_t(rank) + (index_t(1) << 40)),
            size * (size - 1) / 2 + size * (index_t(1) << 40));
  EXPECT_EQ(all_reduce_sum(world, 0.5), 0.5 * size);
  EXPECT_EQ(all_reduce_max(world, rank), size - 1);
  EXPECT_EQ(all_reduce_min(world, double(rank) - 3), -3.0);
}

TEST(Broadcast, TakesTheSizeOfTheRoot) {
  const auto world = Communicator::world();
  const int last = world.size() - 1;
  std::string text = world.rank() == last ? "from the last" : "x";
  broadcast(world, text, last);
  EXPECT_EQ(text, "from the last");
  std::vector<double> values;
  if (world.is_root()) values = {1.5, 2.5};
  broadcast(world, values);
  EXPECT_EQ(values, (std::vector<double>{1.5, 2.5}));
  View1<int> view("elastic::test", 3);
  Kokkos::deep_copy(view, world.rank() + 4);
  broadcast(world, view);
  EXPECT_EQ(Kokkos::create_mirror_view_and_copy(HostSpace(), view)(2), 4);
}

TEST(Gather, StringsOfDifferentLength) {
  const auto world = Communicator::world();
  const auto all = gather_strings(world, std::string(world.rank(), 'a'));
  ASSERT_EQ(all.size(), world.is_root() ? world.size() : 0);
  for (std::size_t r = 0; r < all.size(); ++r) EXPECT_EQ(all[r], std::string(r, 'a'));
}

TEST(Split, ByRank) {
  auto world = Communicator::world();
  world.set_deterministic(true);
  const auto alone = world.split(world.rank());
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.deterministic());
  const auto reversed = world.split(0, -world.rank());
  EXPECT_EQ(reversed.rank(), world.size() - 1 - world.rank());
  barrier(reversed);
}

TEST(AllRanksAgree, ReturnsTheResultOfEachRank) {
  const auto world = Communicator::world();
  EXPECT_EQ(all_ranks_agree(world, [&] { return world.rank() + 1; }), world.rank() + 1);
  EXPECT_NO_THROW(all_ranks_agree(world, [] {}));
}

TEST(AllRanksAgree, EveryRankThrowsTheErrorOfTheLowest) {
  const auto world = Communicator::world();
  const int last = world.size() - 1;
  try {
    all_ranks_agree(world, [&] {
      if (world.rank() == last) throw InputError("line 3: no such key");
    });
    ADD_FAILURE() << "expected an InputError";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "line 3: no such key");
    EXPECT_EQ(error.code(), ExitCode::input);
  }
  try {
    all_ranks_agree(world, [&] { throw NumericsError("rank " + std::to_string(world.rank())); });
    ADD_FAILURE() << "expected a NumericsError";
  } catch (const NumericsError& error) {
    EXPECT_STREQ(error.what(), "rank 0");
  }
  try {
    all_ranks_agree(world, [&]() -> int {
      if (world.rank() == last) throw std::bad_alloc();
      return 1;
    });
    ADD_FAILURE() << "expected a RunError";
  } catch (const RunError& error) {
    EXPECT_STREQ(error.what(), "out of memory");
  }
  EXPECT_EQ(all_reduce_sum(world, 1), world.size());  // nobody hangs, the communicator still works
}

TEST(AllRanksArrive, TellsAgreementFromALonelyRank) {
  const auto world = Communicator::world();
  EXPECT_TRUE(all_ranks_arrive(20));
  if (world.is_root()) {
    EXPECT_FALSE(all_ranks_arrive(0.05));
    barrier(world);
  } else {
    barrier(world);
    EXPECT_TRUE(all_ranks_arrive(20));  // completes the barrier that rank 0 gave up
  }
}

}  // namespace
}  // namespace elastic::test
