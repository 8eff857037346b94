// SPDX-License-Identifier: Apache-2.0
// Messages of many blocks travel at once. Both ends know from formulas which elements are in each,
// so that nothing but elements is sent.
#include "parallel/block_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <queue>

#include "comm/all_ranks_agree.hpp"
#include "comm/messages.hpp"

namespace elastic {

namespace {

/// How many of the first `rows` rows of the whole lie on this shard.
index_t rows_before(const ShardedMatrix& matrix, index_t rows, const Shard& shard) {
  const index_t unit = matrix.row_unit;
  if (unit == 0) return rows;
  const index_t units = rows / unit;
  const index_t rest = units % shard.size == shard.rank ? rows % unit : 0;
  return local_count(units, shard) * unit + rest;
}

/// Elements of a shard's part that lie in these rows of the whole.
Range part_elements(const ShardedMatrix& matrix, Range rows, const Shard& shard) {
  const index_t columns = matrix.local_columns(shard);
  return {rows_before(matrix, rows.first, shard) * columns,
          rows_before(matrix, rows.second, shard) * columns};
}

/// Calls body(position in the whole, length) for every run of neighbours among elements of a part.
template <class Body>
void for_each_run(const ShardedMatrix& matrix, const Shard& shard, Range elements,
                  const Body& body) {
  if (shard.size == 1 || !matrix.sharded())
    return body(elements.first, elements.second - elements.first);
  const bool by_rows = matrix.row_unit > 0;
  // Shards of rows are shards of the flat array in units of so many rows.
  const index_t columns = matrix.local_columns(shard),
                unit = by_rows ? matrix.row_unit * columns : matrix.column_unit;
  index_t at = elements.first;
  while (at < elements.second) {
    const index_t row = by_rows ? 0 : at / columns, inside = by_rows ? at : at % columns;
    const index_t length = std::min(unit - inside % unit, elements.second - at);
    body(row * matrix.columns + global_index(inside, unit, shard), length);
    at += length;
  }
}

/// The number of bytes of an element as a constant: most runs are short.
template <class Body>
void with_element_bytes(std::size_t bytes, const Body& body) {
  if (bytes == 2) return body(std::integral_constant<std::size_t, 2>());
  if (bytes == 4) return body(std::integral_constant<std::size_t, 4>());
  if (bytes == 8) return body(std::integral_constant<std::size_t, 8>());
  throw_contract(fmt::format("elements of {} bytes", bytes));
}

std::size_t length_of(Range range) { return static_cast<std::size_t>(range.second - range.first); }

std::vector<int> deal(const std::vector<std::size_t>& bytes, int ranks) {
  using Load = std::pair<std::size_t, int>;
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int r = 0; r < ranks; ++r) loads.emplace(0, r);
  std::vector<int> rank_of;
  for (const std::size_t size : bytes) {
    const auto [load, rank] = loads.top();
    loads.pop();
    loads.emplace(load + size, rank);
    rank_of.push_back(rank);
  }
  return rank_of;
}

/// Memory that is taken piece by piece, stays where it is, and is used again in the next round.
class Buffers {
 public:
  char* take(std::size_t bytes) {
    constexpr std::size_t alignment = 64;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    while (m_chunk < m_chunks.size() && m_used + bytes > m_chunks[m_chunk].second) {
      ++m_chunk;
      m_used = 0;
    }
    if (m_chunk == m_chunks.size()) {
      const std::size_t size = std::max(bytes, BlockExchange::round_bytes);
      m_chunks.emplace_back(new char[size], size);
    }
    m_used += bytes;
    return m_chunks[m_chunk].first.get() + (m_used - bytes);
  }
  void use_again() { m_chunk = m_used = 0; }

 private:
  std::vector<std::pair<std::unique_ptr<char[]>, std::size_t>> m_chunks;
  std::size_t m_chunk = 0, m_used = 0;  // the chunk from which is taken, and what is taken of it
};

}  // namespace

BlockExchange::BlockExchange(const Communicator& world, int tensor_ranks,
                             std::vector<HeldTensor> tensors, std::vector<TensorBlock> blocks)
    : m_world(&world),
      m_tensor_ranks(tensor_ranks),
      m_tensors(std::move(tensors)),
      m_blocks(std::move(blocks)) {
  ELASTIC_REQUIRE(tensor_ranks >= 1 && world.size() % tensor_ranks == 0,
                  "{} tensor-parallel ranks of {}", tensor_ranks, world.size());
  std::vector<std::size_t> bytes;
  for (const auto& block : m_blocks) {
    ELASTIC_REQUIRE(block.tensor < m_tensors.size() && 0 <= block.rows.first &&
                        block.rows.first <= block.rows.second &&
                        block.rows.second <= m_tensors[block.tensor].matrix.rows,
                    "block of rows [{}, {}) of tensor {} of {}", block.rows.first,
                    block.rows.second, block.tensor, m_tensors.size());
    bytes.push_back(bytes_of(bytes.size()));
  }
  m_rank_of = deal(bytes, world.size());
}

std::size_t BlockExchange::bytes_of(std::size_t b) const {
  const auto& tensor = m_tensors[m_blocks[b].tensor];
  return length_of(m_blocks[b].rows) * static_cast<std::size_t>(tensor.matrix.columns) *
         tensor.element_bytes;
}

std::vector<std::size_t> BlockExchange::mine() const {
  std::vector<std::size_t> list;
  for (std::size_t b = 0; b < m_blocks.size(); ++b)
    if (m_rank_of[b] == m_world->rank()) list.push_back(b);
  return list;
}

std::size_t BlockExchange::my_bytes() const {
  std::size_t bytes = 0;
  for (const std::size_t b : mine()) bytes += bytes_of(b);
  return bytes;
}

std::size_t BlockExchange::bytes_of(const Route& route, const HeldTensor& tensor) const {
  std::size_t elements = 0;
  for (const Range& piece : route.pieces) elements += length_of(piece);
  return elements * tensor.element_bytes;
}

void BlockExchange::add_routes(std::size_t b, Towards towards, int tensor_rank, int only,
                               std::vector<Route>& list) const {
  const auto& tensor = m_tensors[m_blocks[b].tensor];
  const Range all = part_elements(tensor.matrix, m_blocks[b].rows, {tensor_rank, m_tensor_ranks});
  if (all.first == all.second) return;
  const int replicas = m_world->size() / m_tensor_ranks;
  const auto rank_in = [&](int replica) { return replica * m_tensor_ranks + tensor_rank; };
  const auto wanted = [&](int rank) { return only < 0 || only == rank; };
  if (!tensor.owners) {
    // Every replica has the elements: a block takes them from the replica of its own rank.
    const int own = m_rank_of[b] / m_tensor_ranks;
    const bool to_block = towards == Towards::block;
    for (int d = to_block ? own : 0; d < (to_block ? own + 1 : replicas); ++d)
      if (wanted(rank_in(d))) list.push_back({rank_in(d), {all}});
    return;
  }
  std::vector<std::vector<Range>> pieces(static_cast<std::size_t>(replicas));
  tensor.owners(tensor_rank, all, [&](int replica, Range piece) {
    pieces[static_cast<std::size_t>(replica)].push_back(piece);
  });
  for (int d = 0; d < replicas; ++d) {
    auto& of_replica = pieces[static_cast<std::size_t>(d)];
    if (!of_replica.empty() && wanted(rank_in(d)))
      list.push_back({rank_in(d), std::move(of_replica)});
  }
}

std::vector<BlockExchange::Route> BlockExchange::routes(std::size_t b, Towards towards,
                                                        int only) const {
  std::vector<Route> list;
  // Where all tensor-parallel ranks have the elements, a block takes those of its own rank's.
  const bool one_suffices =
      towards == Towards::block && !m_tensors[m_blocks[b].tensor].matrix.sharded();
  for (int t = 0; t < m_tensor_ranks; ++t) {
    if (one_suffices && t != m_rank_of[b] % m_tensor_ranks) continue;
    if (only >= 0 && t != only % m_tensor_ranks) continue;
    add_routes(b, towards, t, only, list);
  }
  return list;
}

std::size_t BlockExchange::end_of_round(std::size_t first) const {
  std::vector<std::size_t> load(static_cast<std::size_t>(m_world->size()), 0);
  std::size_t b = first;
  for (; b < m_blocks.size(); ++b) {
    auto& of_rank = load[static_cast<std::size_t>(m_rank_of[b])];
    if (of_rank > 0 && of_rank + bytes_of(b) > round_bytes) break;
    of_rank += bytes_of(b);
  }
  return b;
}

template <BlockExchange::Towards towards, class Block, class Message>
void BlockExchange::copy(std::size_t b, const Route& route, Block* block, Message* message) const {
  const auto& tensor = m_tensors[m_blocks[b].tensor];
  const index_t begin = m_blocks[b].rows.first * tensor.matrix.columns;
  with_element_bytes(tensor.element_bytes, [&](auto bytes) {
    for (const Range& piece : route.pieces)
      for_each_run(tensor.matrix, shard_of(route.rank), piece, [&](index_t whole, index_t length) {
        Block* at = block + static_cast<std::size_t>(whole - begin) * bytes();
        for (index_t i = 0; i < length; ++i, at += bytes(), message += bytes())
          if constexpr (towards == Towards::block)
            std::memcpy(at, message, bytes());
          else
            std::memcpy(message, at, bytes());
      });
  });
}

void BlockExchange::gather(const Fetch& fetch, const Place& place) const {
  const int me = m_world->rank();
  struct Arrival {
    std::size_t block;
    Route route;
    char *to, *message;
  };
  Buffers buffers;
  for (std::size_t first = 0; first < m_blocks.size();) {
    const std::size_t end = end_of_round(first);
    Messages messages(*m_world);
    buffers.use_again();
    std::vector<Arrival> arrivals;
    for (std::size_t b = first; b < end; ++b) {
      const auto& tensor = m_tensors[m_blocks[b].tensor];
      if (m_rank_of[b] != me) continue;
      char* to = place(b);
      const index_t begin = m_blocks[b].rows.first * tensor.matrix.columns;
      for (auto& route : routes(b, Towards::block)) {
        const std::size_t bytes = bytes_of(route, tensor);
        const bool direct = contiguous(tensor) && route.pieces.size() == 1;
        char* message = direct ? to + static_cast<std::size_t>(route.pieces[0].first - begin) *
                                          tensor.element_bytes
                               : buffers.take(bytes);
        if (route.rank != me) messages.receive(message, bytes, route.rank);
        if (!direct || route.rank == me) arrivals.push_back({b, std::move(route), to, message});
      }
    }
    const auto fetch_all = [&](std::size_t b, const Route& route, char* message) {
      const std::size_t number = m_blocks[b].tensor;
      for (const Range& piece : route.pieces) {
        fetch(number, piece, message);
        message += length_of(piece) * m_tensors[number].element_bytes;
      }
    };
    for (std::size_t b = first; b < end; ++b) {
      if (m_rank_of[b] == me) continue;
      for (const auto& route : routes(b, Towards::block, me)) {
        const std::size_t bytes = bytes_of(route, m_tensors[m_blocks[b].tensor]);
        char* message = buffers.take(bytes);
        fetch_all(b, route, message);
        messages.send(message, bytes, m_rank_of[b]);
      }
    }
    for (const auto& arrival : arrivals)
      if (arrival.route.rank == me) fetch_all(arrival.block, arrival.route, arrival.message);
    messages.wait();
    for (const auto& arrival : arrivals) {
      const bool direct =
          contiguous(m_tensors[m_blocks[arrival.block].tensor]) && arrival.route.pieces.size() == 1;
      if (!direct)
        copy<Towards::block>(arrival.block, arrival.route, arrival.to,
                             static_cast<const char*>(arrival.message));
    }
    first = end;
  }
}

void BlockExchange::scatter_window(Range blocks, const std::vector<const char*>& read,
                                   const Store& store) const {
  const int me = m_world->rank();
  struct Arrival {
    std::size_t block;
    Route route;
    const char* message;
  };
  Messages messages(*m_world);
  Buffers buffers;
  std::vector<Arrival> arrivals;
  const auto begin = static_cast<std::size_t>(blocks.first),
             end = static_cast<std::size_t>(blocks.second);
  for (std::size_t b = begin; b < end; ++b) {
    if (m_rank_of[b] == me) continue;
    for (auto& route : routes(b, Towards::holders, me)) {
      const std::size_t bytes = bytes_of(route, m_tensors[m_blocks[b].tensor]);
      char* message = buffers.take(bytes);
      messages.receive(message, bytes, m_rank_of[b]);
      arrivals.push_back({b, std::move(route), message});
    }
  }
  for (std::size_t b = begin; b < end; ++b) {
    if (m_rank_of[b] != me) continue;
    const auto& tensor = m_tensors[m_blocks[b].tensor];
    const char* block = read[b - begin];
    // Replicas that hold equal parts get one message.
    std::vector<const char*> packed(static_cast<std::size_t>(m_tensor_ranks), nullptr);
    for (auto& route : routes(b, Towards::holders)) {
      const std::size_t bytes = bytes_of(route, tensor);
      const char* message = packed[static_cast<std::size_t>(route.rank % m_tensor_ranks)];
      if (tensor.owners || !message) {
        if (contiguous(tensor) && route.pieces.size() == 1) {
          message =
              block + static_cast<std::size_t>(route.pieces[0].first -
                                               m_blocks[b].rows.first * tensor.matrix.columns) *
                          tensor.element_bytes;
        } else {
          char* buffer = buffers.take(bytes);
          copy<Towards::holders>(b, route, block, buffer);
          message = buffer;
        }
        packed[static_cast<std::size_t>(route.rank % m_tensor_ranks)] = message;
      }
      if (route.rank == me)
        arrivals.push_back({b, std::move(route), message});
      else
        messages.send(message, bytes, route.rank);
    }
  }
  messages.wait();
  for (const auto& arrival : arrivals) {
    const std::size_t number = m_blocks[arrival.block].tensor;
    const char* message = arrival.message;
    for (const Range& piece : arrival.route.pieces) {
      store(number, piece, message);
      message += length_of(piece) * m_tensors[number].element_bytes;
    }
  }
}

void BlockExchange::scatter(const Read& read, const Store& store) const {
  Buffers buffers;
  for (std::size_t first = 0; first < m_blocks.size();) {
    const std::size_t end = end_of_round(first);
    buffers.use_again();
    std::vector<const char*> data(end - first, nullptr);
    all_ranks_agree(*m_world, [&] {
      for (std::size_t b = first; b < end; ++b) {
        if (m_rank_of[b] != m_world->rank()) continue;
        char* block = buffers.take(bytes_of(b));
        read(b, block);
        data[b - first] = block;
      }
    });
    for (std::size_t begin = first; begin < end;) {
      std::size_t stop = begin, bytes = 0;
      while (stop < end && (bytes == 0 || bytes + bytes_of(stop) <= window_bytes))
        bytes += bytes_of(stop++);
      scatter_window(Range(begin, stop),
                     {data.begin() + static_cast<std::ptrdiff_t>(begin - first),
                      data.begin() + static_cast<std::ptrdiff_t>(stop - first)},
                     store);
      begin = stop;
    }
    first = end;
  }
}

}  // namespace elastic
