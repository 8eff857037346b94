// SPDX-License-Identifier: Apache-2.0
// The grid of ranks, for every grid that the ranks of the test allow.
#include "parallel/process_grid.hpp"

#include <gtest/gtest.h>

#include "comm/collectives.hpp"

namespace elastic::test {
namespace {

/// World ranks of a communicator, in its order.
std::vector<int> members(const Communicator& comm, int world_rank) {
  std::vector<int> ranks(comm.size());
  ranks[comm.rank()] = world_rank;
  all_reduce_sum(comm, ranks);
  return ranks;
}

TEST(ProcessGrid, DealsOutTensorThenContextThenData) {
  auto world = Communicator::world();
  world.set_deterministic(true);
  for (int tensor = 1; tensor <= world.size(); ++tensor)
    for (int context = 1; tensor * context <= world.size(); ++context) {
      if (world.size() % (tensor * context) != 0) continue;
      const ProcessGrid grid(world, {.tensor = tensor, .context = context});
      const int rank = world.rank(), data = world.size() / tensor / context;
      const int t = rank % tensor, c = rank / tensor % context, d = rank / tensor / context;
      const auto world_rank = [&](int it, int ic, int id) {
        return (id * context + ic) * tensor + it;
      };
      std::vector<int> along_t, along_c, along_d, along_dc, along_ct;
      for (int it = 0; it < tensor; ++it) along_t.push_back(world_rank(it, c, d));
      for (int ic = 0; ic < context; ++ic) along_c.push_back(world_rank(t, ic, d));
      for (int id = 0; id < data; ++id) {
        along_d.push_back(world_rank(t, c, id));
        for (int ic = 0; ic < context; ++ic) along_dc.push_back(world_rank(t, ic, id));
      }
      for (int ic = 0; ic < context; ++ic)
        for (int it = 0; it < tensor; ++it) along_ct.push_back(world_rank(it, ic, d));
      EXPECT_EQ(members(grid.tensor, rank), along_t);
      EXPECT_EQ(members(grid.context, rank), along_c);
      EXPECT_EQ(members(grid.data, rank), along_d);
      EXPECT_EQ(members(grid.data_context, rank), along_dc);
      EXPECT_EQ(members(grid.model, rank), along_ct);
      EXPECT_EQ(grid.world.rank(), rank);
      EXPECT_EQ(grid.num_replicas(), data);
      EXPECT_TRUE(grid.tensor.deterministic() && grid.model.deterministic());
      EXPECT_TRUE(grid.tensor_groups_on_one_node());  // tests run on one node
    }
}

TEST(ProcessGrid, RefusesSizesThatDoNotFitAndNamesWhatWould) {
  const auto world = Communicator::world();
  const int ranks = world.size(), wanted = ranks + 1;
  try {
    const ProcessGrid grid(world, {.tensor = wanted});
    ADD_FAILURE() << "expected an InputError";
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(fmt::format("{} ranks cannot be laid out as tensor x context = {} x 1",
                                       ranks, wanted)),
              std::string::npos)
        << message;
    EXPECT_NE(message.find(fmt::format("start {} ranks", wanted)), std::string::npos) << message;
    EXPECT_NE(message.find(ranks == 1   ? "one of 1"
                           : ranks == 2 ? "one of 1, 2"
                                        : "one of 1, "),
              std::string::npos)
        << message;
  }
  EXPECT_THROW(ProcessGrid(world, {.tensor = 1, .context = 0}), InputError);
  EXPECT_THROW(ProcessGrid(world, {.tensor = 1 << 20, .context = 1 << 20}), InputError);
}

TEST(ProcessGrid, NamesTheNumberOfRanksBelowToo) {
  auto world = Communicator::world();
  if (world.size() != 3) GTEST_SKIP() << "for 3 ranks";
  try {
    const ProcessGrid grid(world, {.context = 2});
    ADD_FAILURE() << "expected an InputError";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("start 2 or 4 ranks"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("one of 1, 3"), std::string::npos);
  }
}

}  // namespace
}  // namespace elastic::test
