// SPDX-License-Identifier: Apache-2.0
// Loops over shared work: an error or a wish to stop of one rank ends them on all ranks, before the
// passes begin that would wait for it.
#include "comm/rounds.hpp"

#include <gmock/gmock.h>

#include "comm/collectives.hpp"

namespace elastic::test {
namespace {

/// The message of what `loop` throws.
template <class Loop>
std::string thrown_by(const Loop& loop) {
  try {
    loop();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

TEST(Rounds, FetchAndWorkInTurn) {
  const auto world = Communicator::world();
  std::string course;
  for_each_round(
      world, world.size(), 2, [&](index_t round) { course += fmt::format("f{}", round); },
      [&](index_t round) { course += fmt::format("w{}", round + all_reduce_max(world, 0)); });
  EXPECT_EQ(course, "f0w0f1w1");
}

TEST(Rounds, AnErrorOfFetchIsThatOfAllRanksBeforeTheirPass) {
  const auto world = Communicator::world();
  const int last = world.size() - 1;
  int passes = 0;
  const auto loop = [&] {
    for_each_round(
        world, world.size(), 3,
        [&](index_t round) {
          if (round == 1 && world.rank() == last) throw InputError("cannot read");
        },
        [&](index_t) { passes += all_reduce_max(world, 1); });
  };
  EXPECT_EQ(thrown_by(loop), "cannot read");
  EXPECT_EQ(passes, 1);
}

TEST(Rounds, AnErrorOfWorkIsThatOfAllRanksWhereNobodyWaits) {
  const auto world = Communicator::world();
  const auto loop = [&] {
    for_each_round(
        world, 1, 3, [](index_t) {},
        [&](index_t round) {
          if (round == 2 && world.is_root()) throw RunError("out of memory");
        });
  };
  EXPECT_EQ(thrown_by(loop), "out of memory");
}

TEST(Rounds, AnErrorOfWorkIsThrownAtOnceWhereATeamWaits) {
  const auto world = Communicator::world();
  const auto loop = [&] {
    for_each_round(
        world, 2, 3, [](index_t) {}, [&](index_t) { throw RunError("of this rank"); });
  };
  EXPECT_EQ(thrown_by(loop), "of this rank");
}

TEST(Rounds, ATeamWhoseNumbersAreNotFiniteTellsTheOthers) {
  const auto world = Communicator::world();
  const auto loop = [&] {
    for_each_round(
        world, 2, 1, [](index_t) {},
        [&](index_t) {
          if (world.is_root()) throw NumericsError("nan");
        });
  };
  EXPECT_THROW(loop(), NumericsError);
}

TEST(Rounds, OneRankThatWasAskedStopsAll) {
  const auto world = Communicator::world();
  int passes = 0;
  const auto loop = [&](int team) {
    for_each_round(
        world, team, 3, [](index_t) {},
        [&](index_t round) {
          ++passes;
          if (round == 0 && world.rank() == 1) stop_request::ask_to_stop();
        });
  };
  EXPECT_THROW(loop(world.size()), Stopped);
  EXPECT_EQ(passes, 1);
  barrier(world);
  stop_request::forget();
  const auto thrown_in_a_pass = [&] {
    for_each_round(
        world, 2, 3, [](index_t) {},
        [&](index_t) {
          if (world.is_root()) throw Stopped();
        });
  };
  EXPECT_THROW(thrown_in_a_pass(), Stopped);
}

TEST(Rounds, AnErrorGoesBeforeAWishToStop) {
  const auto world = Communicator::world();
  if (world.is_root()) stop_request::ask_to_stop();
  const auto loop = [&] {
    for_each_round(
        world, 1, 1,
        [&](index_t) {
          if (world.rank() == 1) throw InputError("cannot read");
        },
        [](index_t) {});
  };
  EXPECT_THROW(loop(), InputError);
  stop_request::forget();
}

}  // namespace
}  // namespace elastic::test
