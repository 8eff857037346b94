// SPDX-License-Identifier: Apache-2.0
// A collective where a rank may leave alone with an error is refused, whichever it is; and ranks
// show that they wait.
#include "comm/collective_guard.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/life_sign.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "comm/split_collectives.hpp"

namespace elastic::test {
namespace {

TEST(CollectiveGuard, RefusesEveryCollectiveWithinAllRanksAgree) {
  const auto world = Communicator::world();
  const auto refused = [&](const auto& collective) {
    EXPECT_THROW(all_ranks_agree(world, [&] { collective(); }), ContractError);
  };
  int number = 0;
  std::string text;
  std::vector<float> all(static_cast<std::size_t>(world.size())), mine(1);
  const auto parts = equal_parts(world.size(), world.size());
  refused([&] { all_reduce_sum(world, number); });
  refused([&] { all_reduce_max(world, number); });
  refused([&] { all_reduce_min(world, number); });
  refused([&] { broadcast(world, text); });
  refused([&] { gather_strings(world, text); });
  refused([&] { barrier(world); });
  refused([&] { reduce_scatter_sum(world, all.data(), parts, mine.data()); });
  refused([&] { all_gather(world, mine.data(), parts, all.data()); });
  refused([&] { world.split(0); });
  refused([&] { world.split_by_node(); });
  refused([&] { Messages(world).wait(); });
  refused([&] { all_ranks_agree(world, [] {}); });
  EXPECT_EQ(all_reduce_sum(world, 1), world.size());  // and is over
}

TEST(CollectiveGuard, AllowsWhatWaitsForNobody) {
  const auto world = Communicator::world();
  const auto self = Communicator::self();
  EXPECT_EQ(all_ranks_agree(world, [&] { return all_reduce_sum(self, 3); }), 3);
  EXPECT_EQ(all_ranks_agree(self, [&] { return all_reduce_sum(world, 1); }), world.size());
}

TEST(CollectiveGuard, ShowsThatARankWaits) {
  const auto world = Communicator::world();
  const auto before = life_sign().progress.load();
  {
    const impl::InCollective entered(world, "test");
    EXPECT_EQ(life_sign().collectives.load(), 1);
  }
  EXPECT_EQ(life_sign().collectives.load(), 0);
  EXPECT_EQ(life_sign().progress.load(), before + 2);
}

}  // namespace
}  // namespace elastic::test
