// SPDX-License-Identifier: Apache-2.0
// Ranks take micro-batches in turn; a batch that is loaded as a whole is the same on all of them.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "train/micro_batches.hpp"
#include "train/token_sources.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

TEST(MicroBatchesOnRanks, GoToRanksInTurn) {
  const Communicator world = Communicator::world();
  const auto deck = small_deck({"parallel/micro_batch_size=2"});
  Arena arena;
  MicroBatches batches(world, deck.config, arena);
  const auto source = make_source(deck.config, 1);
  const index_t count = 5;  // of 10 sequences
  std::vector<double> taken(count, 0.0);
  index_t last = -1;
  batches.for_each(*source, {.count = 2 * count, .seq_length = 48}, [&](const MicroBatch& batch) {
    EXPECT_EQ(batch.number % world.size(), world.rank());
    EXPECT_EQ(batch.count, count);
    EXPECT_EQ(last, -1) << "a batch after the last one";
    taken[static_cast<std::size_t>(batch.number)] += 1;
    if (batch.last) last = batch.number;
  });
  EXPECT_EQ(last >= 0, world.rank() < count);
  all_reduce_sum(world, taken);
  EXPECT_EQ(taken, std::vector<double>(count, 1.0));
}

TEST(MicroBatchesOnRanks, ALoadedRangeIsTheSameEverywhere) {
  const Communicator world = Communicator::world();
  const auto deck = small_deck({"parallel/micro_batch_size=2"});
  Arena arena;
  MicroBatches batches(world, deck.config, arena);
  const auto source = make_source(deck.config, 1);
  const MicroBatch batch =
      batches.load(batches.read(*source, {.first = 7, .count = 3, .seq_length = 48}));
  const auto h_tokens = Kokkos::create_mirror_view_and_copy(HostSpace(), batch.tokens);
  ASSERT_EQ(h_tokens.extent(0), 144u);
  std::vector<double> tokens(h_tokens.data(), h_tokens.data() + 144), sums = tokens;
  all_reduce_sum(world, sums);
  for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(sums[i], world.size() * tokens[i]);
}

}  // namespace
}  // namespace elastic::test
