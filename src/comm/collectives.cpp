// SPDX-License-Identifier: Apache-2.0
// Collective operations on host memory; large counts are split into pieces that fit MPI's int.
#include "comm/collectives.hpp"

#include "comm/collective_guard.hpp"
#include "comm/mpi_type.hpp"
#include "comm/split_collectives.hpp"

#include <algorithm>

namespace elastic {

namespace {

using impl::mpi_type;

constexpr index_t largest_piece = index_t(1) << 28;  // elements of one MPI call

/// Reduces in place, piece by piece.
template <class T>
void reduce_pieces(const Communicator& comm, T* data, index_t count, MPI_Op operation) {
  for (index_t begin = 0; begin < count; begin += largest_piece)
    ELASTIC_CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, data + begin,
                                    static_cast<int>(std::min(largest_piece, count - begin)),
                                    mpi_type<T>(), operation, comm.handle()));
}

}  // namespace

template <Summable T>
void all_reduce_sum(const Communicator& comm, T* data, index_t count) {
  if (comm.size() == 1) return;
  const impl::InCollective entered(comm, "all_reduce_sum");
  if constexpr (std::is_floating_point_v<T>)
    if (comm.deterministic()) {
      const auto parts = equal_parts(count, comm.size());
      T* mine = data + parts[comm.rank()];
      impl::sum_parts_in_tree(comm, data, parts, mine);
      all_gather(comm, mine, parts, data);
      return;
    }
  reduce_pieces(comm, data, count, MPI_SUM);
}

template <Summable T>
void all_reduce_max(const Communicator& comm, T* data, index_t count) {
  if (comm.size() == 1) return;
  const impl::InCollective entered(comm, "all_reduce_max");
  reduce_pieces(comm, data, count, MPI_MAX);
}
template <Summable T>
void all_reduce_min(const Communicator& comm, T* data, index_t count) {
  if (comm.size() == 1) return;
  const impl::InCollective entered(comm, "all_reduce_min");
  reduce_pieces(comm, data, count, MPI_MIN);
}

void broadcast(const Communicator& comm, void* data, std::size_t bytes, int root) {
  if (comm.size() == 1) return;
  const impl::InCollective entered(comm, "broadcast");
  auto* next = static_cast<char*>(data);
  while (bytes > 0) {
    const std::size_t n = std::min<std::size_t>(bytes, std::size_t(1) << 30);
    ELASTIC_CHECK_MPI(MPI_Bcast(next, static_cast<int>(n), MPI_BYTE, root, comm.handle()));
    next += n;
    bytes -= n;
  }
}

void broadcast(const Communicator& comm, std::string& text, int root) {
  index_t size = static_cast<index_t>(text.size());
  broadcast(comm, &size, sizeof size, root);
  text.resize(static_cast<std::size_t>(size));
  broadcast(comm, text.data(), text.size(), root);
}

std::vector<std::string> gather_strings(const Communicator& comm, const std::string& mine) {
  const impl::InCollective entered(comm, "gather_strings");
  const int ranks = comm.size(), length = static_cast<int>(mine.size());
  std::vector<int> lengths(ranks), offsets(ranks);
  ELASTIC_CHECK_MPI(MPI_Gather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, 0, comm.handle()));
  for (int r = 1; r < ranks; ++r) offsets[r] = offsets[r - 1] + lengths[r - 1];
  std::string all(comm.is_root() ? offsets.back() + lengths.back() : 0, '\0');
  ELASTIC_CHECK_MPI(MPI_Gatherv(mine.data(), length, MPI_CHAR, all.data(), lengths.data(),
                                offsets.data(), MPI_CHAR, 0, comm.handle()));
  std::vector<std::string> result;
  for (int r = 0; comm.is_root() && r < ranks; ++r)
    result.push_back(all.substr(offsets[r], lengths[r]));
  return result;
}

void barrier(const Communicator& comm) {
  const impl::InCollective entered(comm, "barrier");
  ELASTIC_CHECK_MPI(MPI_Barrier(comm.handle()));
}

#define ELASTIC_INSTANTIATE(T)                                       \
  template void all_reduce_sum<T>(const Communicator&, T*, index_t); \
  template void all_reduce_max<T>(const Communicator&, T*, index_t); \
  template void all_reduce_min<T>(const Communicator&, T*, index_t);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(index_t)
ELASTIC_INSTANTIATE(int)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
