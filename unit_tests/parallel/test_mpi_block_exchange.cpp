// SPDX-License-Identifier: Apache-2.0
// Blocks of rows from what ranks hold, and back, for every layout of the ranks there are.
#include "parallel/block_exchange.hpp"

#include <cstring>
#include <map>
#include <mutex>

#include "comm/collectives.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

/// Body(world, tensor_ranks) for every layout of the first 1, 2, ... ranks.
template <class Body>
void on_layouts(const Body& body) {
  const auto world = Communicator::world();
  for (int size = 1; size <= world.size(); ++size) {
    const auto group = world.split(world.rank() < size ? 0 : 1);
    if (world.rank() >= size) continue;
    for (int tensor = 1; tensor <= size; ++tensor)
      if (size % tensor == 0) {
        SCOPED_TRACE(fmt::format("{} ranks, {} tensor-parallel", size, tensor));
        body(group, tensor);
      }
  }
}

/// Pieces of 7 elements in turn to the replicas, another one first for every tensor rank.
auto owners_in_turn(int replicas) {
  return [replicas](int tensor_rank, Range elements, const HeldTensor::OnPiece& body) {
    constexpr index_t piece = 7;
    for (index_t at = elements.first; at < elements.second;) {
      const index_t end = std::min((at / piece + 1) * piece, elements.second);
      body(static_cast<int>((at / piece + tensor_rank) % replicas), {at, end});
      at = end;
    }
  };
}

struct Problem {
  std::vector<HeldTensor> tensors;
  std::vector<TensorBlock> blocks;
};

/// All ways to shard and to own, in elements of 2, 4 and 8 bytes; blocks of 3 rows that end within
/// units; fewer units than ranks; an empty tensor.
Problem problem(int replicas) {
  Problem p;
  for (const bool owned : {false, true})
    for (const std::size_t bytes : {2, 4, 8})
      for (const ShardedMatrix& matrix :
           {ShardedMatrix{24, 5, 2, 0}, ShardedMatrix{5, 24, 0, 3}, ShardedMatrix{13, 3, 1, 0},
            ShardedMatrix{3, 17, 0, 1}, ShardedMatrix{2, 3, 2, 0}, ShardedMatrix{7, 6, 0, 0},
            ShardedMatrix{0, 5, 1, 0}, ShardedMatrix{1, 40, 0, 4}}) {
        HeldTensor tensor{matrix, bytes, {}};
        if (owned) tensor.owners = owners_in_turn(replicas);
        for (index_t row = 0; row < matrix.rows; row += 3)
          p.blocks.push_back({p.tensors.size(), {row, std::min(row + 3, matrix.rows)}});
        p.tensors.push_back(tensor);
      }
  return p;
}

/// Element i of a tensor, as many bytes as it has.
void write_element(std::size_t tensor, index_t i, std::size_t bytes, char* out) {
  const std::uint64_t value = (std::uint64_t(tensor) << 40) + 1000003u * std::uint64_t(i) + 1;
  std::memcpy(out, &value, bytes);
}

/// Where element i of a rank's part lies in the whole.
index_t whole_index(const ShardedMatrix& matrix, const Shard& shard, index_t i) {
  const index_t columns = matrix.local_columns(shard);
  return global_index(i / columns, matrix.row_unit, shard) * matrix.columns +
         global_index(i % columns, matrix.column_unit, shard);
}

std::string expected_bytes(const Problem& p, const TensorBlock& block) {
  const auto& tensor = p.tensors[block.tensor];
  const index_t columns = tensor.matrix.columns;
  std::string bytes(static_cast<std::size_t>((block.rows.second - block.rows.first) * columns) *
                        tensor.element_bytes,
                    '\0');
  for (index_t i = block.rows.first * columns; i < block.rows.second * columns; ++i)
    write_element(block.tensor, i, tensor.element_bytes,
                  bytes.data() + static_cast<std::size_t>(i - block.rows.first * columns) *
                                     tensor.element_bytes);
  return bytes;
}

TEST(BlockExchange, GathersWhatRanksHold) {
  on_layouts([](const Communicator& world, int tensor_ranks) {
    const int replicas = world.size() / tensor_ranks, replica = world.rank() / tensor_ranks;
    const Shard shard{world.rank() % tensor_ranks, tensor_ranks};
    const Problem p = problem(replicas);
    const BlockExchange exchange(world, tensor_ranks, p.tensors, p.blocks);
    std::map<std::size_t, std::string> blocks;
    for (const std::size_t b : exchange.mine()) blocks[b].resize(exchange.bytes_of(b), '?');
    exchange.gather(
        [&](std::size_t number, Range elements, char* out) {
          const auto& tensor = p.tensors[number];
          for (index_t i = elements.first; i < elements.second; ++i, out += tensor.element_bytes)
            write_element(number, whole_index(tensor.matrix, shard, i), tensor.element_bytes, out);
          // Nobody is asked for what another replica owns.
          if (tensor.owners)
            tensor.owners(shard.rank, elements,
                          [&](int owner, Range) { EXPECT_EQ(owner, replica); });
        },
        [&](std::size_t b) { return blocks.at(b).data(); });
    for (const auto& [b, bytes] : blocks)
      EXPECT_EQ(bytes, expected_bytes(p, p.blocks[b])) << "block " << b;
    EXPECT_EQ(all_reduce_sum(world, static_cast<index_t>(blocks.size())),
              static_cast<index_t>(p.blocks.size()));
  });
}

TEST(BlockExchange, HandsOutEveryElementOnce) {
  on_layouts([](const Communicator& world, int tensor_ranks) {
    const int replicas = world.size() / tensor_ranks, replica = world.rank() / tensor_ranks;
    const Shard shard{world.rank() % tensor_ranks, tensor_ranks};
    const Problem p = problem(replicas);
    const BlockExchange exchange(world, tensor_ranks, p.tensors, p.blocks);
    std::map<std::pair<std::size_t, index_t>, int> times;
    std::size_t reads = 0;
    exchange.scatter(
        [&](std::size_t b, char* out) {
          EXPECT_EQ(exchange.rank_of(b), world.rank());
          const std::string bytes = expected_bytes(p, p.blocks[b]);
          std::memcpy(out, bytes.data(), bytes.size());
          ++reads;
        },
        [&](std::size_t number, Range elements, const char* data) {
          const auto& tensor = p.tensors[number];
          for (index_t i = elements.first; i < elements.second; ++i) {
            char expected[8];
            write_element(number, whole_index(tensor.matrix, shard, i), tensor.element_bytes,
                          expected);
            EXPECT_EQ(std::memcmp(data, expected, tensor.element_bytes), 0);
            data += tensor.element_bytes;
            ++times[{number, i}];
          }
        });
    EXPECT_EQ(reads, exchange.mine().size());
    for (std::size_t number = 0; number < p.tensors.size(); ++number) {
      const auto& tensor = p.tensors[number];
      const index_t size = tensor.matrix.local_rows(shard) * tensor.matrix.local_columns(shard);
      const auto expect = [&](Range elements, int count) {
        for (index_t i = elements.first; i < elements.second; ++i)
          EXPECT_EQ(times[std::pair(number, i)], count) << "tensor " << number << " element " << i;
      };
      if (!tensor.owners) expect({0, size}, 1);
      if (tensor.owners)
        tensor.owners(shard.rank, {0, size},
                      [&](int owner, Range piece) { expect(piece, owner == replica ? 1 : 0); });
    }
  });
}

TEST(BlockExchange, ShareBytesOutEvenly) {
  const auto world = Communicator::world();
  // Large and small tensors in turn: in turn by number, one of two ranks would get all large ones.
  std::vector<HeldTensor> tensors;
  std::vector<TensorBlock> blocks;
  for (std::size_t i = 0; i < 64; ++i) {
    const index_t rows = i % 2 == 0 ? 1000 : 10;
    tensors.push_back({{rows, 4, 0, 0}, 4, {}});
    blocks.push_back({i, {0, rows}});
  }
  const BlockExchange exchange(world, 1, tensors, blocks);
  const auto bytes = static_cast<index_t>(exchange.my_bytes());
  EXPECT_LE(all_reduce_max(world, bytes) - all_reduce_min(world, bytes), 16000);
  EXPECT_EQ(all_reduce_sum(world, bytes), 32 * 16 * 1010);
}

TEST(BlockExchange, RoundsOfManyBytes) {
  // Three blocks of 6 MB each for every rank: one round takes one of them.
  const auto world = Communicator::world();
  const index_t rows = 3 * world.size(), columns = 1500000;
  const HeldTensor tensor{{rows, columns, 1, 0}, 4, {}};
  std::vector<TensorBlock> blocks;
  for (index_t row = 0; row < rows; ++row) blocks.push_back({0, {row, row + 1}});
  const BlockExchange exchange(world, world.size(), {tensor}, blocks);
  const Shard shard{world.rank(), world.size()};
  std::map<std::size_t, std::vector<float>> gathered;
  exchange.gather(
      [&](std::size_t, Range elements, char* out) {
        ASSERT_EQ(elements.second - elements.first, columns);
        const std::vector<float> row(static_cast<std::size_t>(columns),
                                     float(global_index(elements.first / columns, shard)));
        std::memcpy(out, row.data(), row.size() * sizeof(float));
      },
      [&](std::size_t b) {
        auto& block = gathered[b];
        block.resize(static_cast<std::size_t>(columns));
        return reinterpret_cast<char*>(block.data());
      });
  EXPECT_EQ(gathered.size(), 3u);
  for (const auto& [b, block] : gathered)
    EXPECT_EQ(block, std::vector<float>(block.size(), float(b)));
  index_t stored = 0;
  exchange.scatter(
      [&](std::size_t b, char* out) {
        std::memcpy(out, gathered.at(b).data(), exchange.bytes_of(b));
      },
      [&](std::size_t, Range elements, const char* data) {
        const auto* values = reinterpret_cast<const float*>(data);
        EXPECT_EQ(values[columns - 1], float(global_index(elements.first / columns, shard)));
        ++stored;
      });
  EXPECT_EQ(stored, 3);
}

TEST(BlockExchange, AnErrorOfOneReaderIsEveryones) {
  const auto world = Communicator::world();
  std::vector<TensorBlock> blocks;
  for (index_t row = 0; row < world.size(); ++row) blocks.push_back({0, {row, row + 1}});
  const HeldTensor tensor{{world.size(), 4, 0, 0}, 4, {}};
  const BlockExchange exchange(world, 1, {tensor}, blocks);
  try {
    exchange.scatter(
        [&](std::size_t b, char*) {
          if (b + 1 == blocks.size()) throw InputError("f.h5: w is damaged");
        },
        [&](std::size_t, Range, const char*) { FAIL() << "nothing may be used"; });
    FAIL() << "an error was lost";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "f.h5: w is damaged");
  }
}

TEST(BlockExchange, RefusesWhatDoesNotFit) {
  const auto world = Communicator::world();
  const HeldTensor tensor{{4, 4, 0, 0}, 4, {}};
  EXPECT_THROW(BlockExchange(world, world.size() + 1, {tensor}, {}), ContractError);
  EXPECT_THROW(BlockExchange(world, 1, {tensor}, {{0, {2, 5}}}), ContractError);
  EXPECT_THROW(BlockExchange(world, 1, {tensor}, {{1, {0, 1}}}), ContractError);
}

}  // namespace
}  // namespace elastic::test
