// SPDX-License-Identifier: Apache-2.0
// Collective operations on host memory; large counts are split into pieces that fit MPI's int.
#include "comm/collectives.hpp"

#include <algorithm>

namespace elastic {

namespace {

template <class T>
MPI_Datatype mpi_type();
template <>
MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype mpi_type<index_t>() {
  return MPI_INT64_T;
}
template <>
MPI_Datatype mpi_type<int>() {
  return MPI_INT;
}

constexpr index_t largest_piece = index_t(1) << 28;  // elements of one MPI call
constexpr index_t deterministic_piece = index_t(1)
                                        << 20;  // elements summed at a time in rank order

/// Rank r receives the r-th slice of everybody, adds the slices in rank order, and gives the sum to
/// everybody: the traffic of a ring all-reduce, with a fixed order of additions.
template <class T>
void sum_in_rank_order(const Communicator& comm, T* data, index_t count) {
  const index_t ranks = comm.size(), slice = (count + ranks - 1) / ranks;
  const int n = static_cast<int>(slice);
  std::vector<T> padded(static_cast<std::size_t>(slice * ranks), T(0)), slices(padded.size());
  std::copy(data, data + count, padded.begin());
  ELASTIC_CHECK_MPI(MPI_Alltoall(padded.data(), n, mpi_type<T>(), slices.data(), n, mpi_type<T>(),
                                 comm.handle()));
  for (index_t r = 1; r < ranks; ++r)
    for (index_t i = 0; i < slice; ++i) slices[i] += slices[r * slice + i];
  ELASTIC_CHECK_MPI(MPI_Allgather(slices.data(), n, mpi_type<T>(), padded.data(), n, mpi_type<T>(),
                                  comm.handle()));
  std::copy(padded.begin(), padded.begin() + count, data);
}

template <class T>
T reduce_scalar(const Communicator& comm, T value, MPI_Op operation) {
  ELASTIC_CHECK_MPI(
      MPI_Allreduce(MPI_IN_PLACE, &value, 1, mpi_type<T>(), operation, comm.handle()));
  return value;
}

}  // namespace

template <class T>
void all_reduce_sum(const Communicator& comm, T* data, index_t count) {
  if (comm.size() == 1) return;
  const bool in_rank_order = comm.deterministic() && std::is_floating_point_v<T>;
  const index_t piece = in_rank_order ? deterministic_piece : largest_piece;
  for (index_t begin = 0; begin < count; begin += piece) {
    const index_t n = std::min(piece, count - begin);
    if (in_rank_order)
      sum_in_rank_order(comm, data + begin, n);
    else
      ELASTIC_CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, data + begin, static_cast<int>(n),
                                      mpi_type<T>(), MPI_SUM, comm.handle()));
  }
}

template <class T>
T all_reduce_max(const Communicator& comm, T value) {
  return reduce_scalar(comm, value, MPI_MAX);
}
template <class T>
T all_reduce_min(const Communicator& comm, T value) {
  return reduce_scalar(comm, value, MPI_MIN);
}

void broadcast(const Communicator& comm, void* data, std::size_t bytes, int root) {
  if (comm.size() == 1) return;
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

void barrier(const Communicator& comm) { ELASTIC_CHECK_MPI(MPI_Barrier(comm.handle())); }

template void all_reduce_sum<float>(const Communicator&, float*, index_t);
template void all_reduce_sum<double>(const Communicator&, double*, index_t);
template void all_reduce_sum<index_t>(const Communicator&, index_t*, index_t);
template void all_reduce_sum<int>(const Communicator&, int*, index_t);
template double all_reduce_max<double>(const Communicator&, double);
template index_t all_reduce_max<index_t>(const Communicator&, index_t);
template int all_reduce_max<int>(const Communicator&, int);
template double all_reduce_min<double>(const Communicator&, double);
template index_t all_reduce_min<index_t>(const Communicator&, index_t);
template int all_reduce_min<int>(const Communicator&, int);

}  // namespace elastic
