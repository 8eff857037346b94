// SPDX-License-Identifier: Apache-2.0
// One rank writes, every rank reads; damage seen by all ranks alike.
#include <gtest/gtest.h>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/checkpoint_folder.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

std::filesystem::path common_folder(const Communicator& world) {
  std::string name =
      (std::filesystem::temp_directory_path() / fmt::format("elastic_io_mpi_{}", ::getpid()))
          .string();
  broadcast(world, name);
  return name;
}

TEST(CheckpointOnRanks, RootWritesEveryRankReads) {
  const auto world = Communicator::world();
  const auto folder = common_folder(world);
  const CheckpointFolder checkpoints(folder, 2);
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  all_ranks_agree(world, [&] {
    if (!world.is_root()) return;
    checkpoints.save(7, [&](CheckpointWriter& writer) { writer.tensor("w", values.data(), 2, 3); });
  });
  all_ranks_agree(world, [&] {
    const CheckpointReader reader(*checkpoints.latest());
    EXPECT_EQ(reader.read<float>("w"), values);
    std::vector<float> mine(3);
    const index_t row = world.rank() % 2;
    reader.read_block("w", Range(row, row + 1), Range(0, 3), mine.data());
    EXPECT_EQ(mine[0], float(1 + 3 * row));
  });

  // A save that fails on the writing rank fails on all, and the checkpoint before it stays.
  const auto message = message_of<RunError>([&] {
    all_ranks_agree(world, [&] {
      if (world.is_root())
        checkpoints.save(8, [](CheckpointWriter&) { throw RunError("no space"); });
    });
  });
  EXPECT_EQ(message, "no space");
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{7});
  barrier(world);
  if (world.is_root()) std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace elastic::test
