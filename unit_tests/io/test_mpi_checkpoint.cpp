// SPDX-License-Identifier: Apache-2.0
// One rank writes, every rank reads; damage seen by all ranks alike.
#include <gtest/gtest.h>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/checkpoint_file.hpp"
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
    checkpoints.prepare();
    CheckpointWriter writer(checkpoints.path_of(7));
    writer.tensor("w", values.data(), 2, 3);
    writer.commit();
  });
  all_ranks_agree(world, [&] {
    const CheckpointReader reader(checkpoints.path_of(7));
    EXPECT_EQ(reader.read<float>("w"), values);
    std::vector<float> mine(3);
    const index_t row = world.rank() % 2;
    reader.read_block("w", Range(row, row + 1), Range(0, 3), mine.data());
    EXPECT_EQ(mine[0], float(1 + 3 * row));
  });

  // A save that fails on the writing rank fails on all, and the checkpoint before it stays.
  const auto message = message_of<RunError>([&] {
    all_ranks_agree(world, [&] {
      if (!world.is_root()) return;
      CheckpointWriter writer(checkpoints.path_of(8));
      throw RunError("no space");
    });
  });
  EXPECT_EQ(message, "no space");
  EXPECT_EQ(checkpoints.steps(), std::vector<index_t>{7});
  barrier(world);
  if (world.is_root()) std::filesystem::remove_all(folder);
}

TEST(CheckpointOnRanks, EveryRankWritesItsBlocks) {
  const auto world = Communicator::world();
  const auto folder = common_folder(world);
  const index_t rows = 5, columns = 1 << 20;  // 4 MiB per row, two rows per block
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 4093);
  std::unique_ptr<CheckpointWriter> writer;
  Placement place{"w", StorageType::float32, Extents::matrix(rows, columns), 0};
  std::vector<index_t> offset(1);
  all_ranks_agree(world, [&] {
    if (!world.is_root()) return;
    std::filesystem::create_directories(folder);
    writer = std::make_unique<CheckpointWriter>(folder / "ranks.h5");
    place = writer->place("w", place.extents, place.type);
    offset[0] = static_cast<index_t>(place.offset);
    writer->finish_structure();
  });
  broadcast(world, offset);
  place.offset = static_cast<std::uint64_t>(offset[0]);
  // Blocks in turn; an exact sum brings their hashes together, 32 bits at a time.
  std::vector<double> halves(static_cast<std::size_t>(2 * place.num_blocks()));
  all_ranks_agree(world, [&] {
    BlockWriter mine(folder / "ranks.h5.tmp", BlockWriter::Mode::join);
    for (index_t block = world.rank(); block < place.num_blocks(); block += world.size()) {
      const auto hash =
          mine.write(place.offset_of(block), values.data() + place.rows_of(block).first * columns,
                     place.bytes_of(block));
      halves[2 * block] = static_cast<double>(hash >> 32);
      halves[2 * block + 1] = static_cast<double>(hash & 0xffffffff);
    }
    mine.sync_and_verify();
  });
  all_reduce_sum(world, halves);
  all_ranks_agree(world, [&] {
    if (!world.is_root()) return;
    std::vector<std::uint64_t> hashes;
    for (std::size_t i = 0; i < halves.size(); i += 2)
      hashes.push_back(static_cast<std::uint64_t>(halves[i]) << 32 |
                       static_cast<std::uint64_t>(halves[i + 1]));
    writer->add_hashes(place, 0, hashes);
    writer->commit();
    CheckpointWriter alone(folder / "alone.h5");
    alone.tensor("w", values.data(), rows, columns);
    alone.commit();
    EXPECT_EQ(bytes_of(folder / "ranks.h5"), bytes_of(folder / "alone.h5"));
  });
  all_ranks_agree(world, [&] {
    const CheckpointReader reader(folder / "ranks.h5");
    reader.verify({world.rank(), world.size()});
    EXPECT_EQ(reader.read<float>("w"), values);
  });
  barrier(world);
  if (world.is_root()) std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace elastic::test
