// SPDX-License-Identifier: Apache-2.0
// Tensors that many ranks hold together, as blocks of whole rows that one rank each writes to or
// reads from a file. All ranks work at once, and each handles about as many bytes.
//
//   BlockExchange exchange(grid.world, tensor_ranks, tensors, blocks);
//   exchange.gather(fetch, place);    // what ranks hold -> blocks, each on the rank that writes it
//   exchange.scatter(read, store);    // blocks, each on the rank that reads it -> what ranks hold
//
// Rank r of the world is tensor-parallel rank r mod T of replica floor(r / T). Within a replica
// rows or columns of a tensor are sharded (base/shard.hpp). Replicas hold equal parts, or own
// ranges of the elements of a part. A part is row-major, its elements count from 0.
//
// Blocks go to ranks in their order, each to the one with the fewest bytes so far: which blocks
// there are, and what is in them, does not depend on the ranks.
#pragma once
#include <functional>

#include "parallel/whole_tensors.hpp"

namespace elastic {

/// A tensor, and which rank holds which of its elements.
struct HeldTensor {
  using OnPiece = std::function<void(int replica, Range elements)>;
  ShardedMatrix matrix;
  std::size_t element_bytes = sizeof(float);
  /// Calls the body, in rising order, for the pieces of a range of elements of the part of one
  /// tensor-parallel rank: each is owned by one replica. Empty: every replica holds all.
  std::function<void(int tensor_rank, Range elements, const OnPiece& body)> owners;
};

/// Rows of a tensor.
struct TensorBlock {
  std::size_t tensor = 0;
  Range rows;
};

class BlockExchange {
 public:
  /// Copies elements of this rank's part of a tensor to or from the host.
  using Fetch = std::function<void(std::size_t tensor, Range elements, char* out)>;
  using Store = std::function<void(std::size_t tensor, Range elements, const char* data)>;
  /// The memory of one of this rank's blocks; fills it.
  using Place = std::function<char*(std::size_t block)>;
  using Read = std::function<void(std::size_t block, char* out)>;

  /// Local. All ranks pass equal arguments; `world` must outlive this object. Throws ContractError
  /// unless `tensor_ranks` divides the ranks and the blocks lie in the tensors.
  BlockExchange(const Communicator& world, int tensor_ranks, std::vector<HeldTensor> tensors,
                std::vector<TensorBlock> blocks);

  std::size_t num_blocks() const { return m_blocks.size(); }
  const TensorBlock& block(std::size_t b) const { return m_blocks[b]; }
  std::size_t bytes_of(std::size_t b) const;
  /// The rank that writes or reads block b.
  int rank_of(std::size_t b) const { return m_rank_of[b]; }
  /// The blocks of this rank, rising, and their bytes.
  std::vector<std::size_t> mine() const;
  std::size_t my_bytes() const;

  /// Collective. Fills every block of this rank, whole rows one after the other, from what the
  /// ranks hold. Buffers take about 2 * round_bytes.
  void gather(const Fetch& fetch, const Place& place) const;
  /// Collective. Hands out every element of every block to all ranks that hold it; `read` is called
  /// once for every block of this rank, in order. An error of `read` on one rank is thrown on all.
  /// Buffers take about 2 * round_bytes + window_bytes.
  void scatter(const Read& read, const Store& store) const;

  /// Bytes that one rank gathers or reads at a time, and bytes of all blocks that are handed out at
  /// a time; one block at least.
  static constexpr std::size_t round_bytes = std::size_t(8) << 20, window_bytes = std::size_t(64)
                                                                                  << 20;

 private:
  /// What passes between a block and one rank: pieces of that rank's part, in rising order.
  struct Route {
    int rank;
    std::vector<Range> pieces;
  };
  enum class Towards { block, holders };

  Shard shard_of(int rank) const { return {rank % m_tensor_ranks, m_tensor_ranks}; }
  bool contiguous(const HeldTensor& tensor) const {
    return m_tensor_ranks == 1 || !tensor.matrix.sharded();
  }
  std::size_t bytes_of(const Route& route, const HeldTensor& tensor) const;
  /// Routes of block b; with `only`, those of that rank alone.
  std::vector<Route> routes(std::size_t b, Towards towards, int only = -1) const;
  void add_routes(std::size_t b, Towards towards, int tensor_rank, int only,
                  std::vector<Route>& list) const;
  std::size_t end_of_round(std::size_t first) const;
  /// Copies a message between its place in a block and a buffer.
  template <Towards towards, class Block, class Message>
  void copy(std::size_t b, const Route& route, Block* block, Message* message) const;
  void scatter_window(Range blocks, const std::vector<const char*>& read, const Store& store) const;

  const Communicator* m_world;
  int m_tensor_ranks;
  std::vector<HeldTensor> m_tensors;
  std::vector<TensorBlock> m_blocks;
  std::vector<int> m_rank_of;
};

}  // namespace elastic
