// SPDX-License-Identifier: Apache-2.0
// Reduce-scatter and all-gather; the deterministic sum exchanges slices and adds them in a tree.
#include "comm/split_collectives.hpp"

#include <algorithm>

#include "comm/collective_guard.hpp"
#include "comm/collectives.hpp"
#include "comm/messages.hpp"
#include "comm/mpi_type.hpp"
#include "comm/tree_sum.hpp"

namespace elastic {

namespace {

std::vector<int> lengths(const std::vector<index_t>& offsets) {
  std::vector<int> result;
  for (std::size_t r = 0; r + 1 < offsets.size(); ++r)
    result.push_back(static_cast<int>(offsets[r + 1] - offsets[r]));
  return result;
}

void check_offsets(const Communicator& comm, const std::vector<index_t>& offsets) {
  ELASTIC_REQUIRE(static_cast<int>(offsets.size()) == comm.size() + 1 && offsets.front() == 0 &&
                      std::is_sorted(offsets.begin(), offsets.end()),
                  "{} parts for {} ranks", offsets.size() - 1, comm.size());
}

}  // namespace

std::vector<index_t> equal_parts(index_t count, int ranks) {
  std::vector<index_t> offsets;
  for (int r = 0; r <= ranks; ++r) offsets.push_back(count * r / ranks);
  return offsets;
}

template <Summable T>
void reduce_scatter_sum(const Communicator& comm, const T* data,
                        const std::vector<index_t>& offsets, T* mine, index_t largest_call) {
  check_offsets(comm, offsets);
  const impl::InCollective entered(comm, "reduce_scatter_sum");
  const MPI_Datatype type = impl::mpi_type<T>();
  if (comm.deterministic() && std::is_floating_point_v<T>) {
    impl::sum_parts_in_tree(comm, data, offsets, mine);
  } else if (offsets.back() <= largest_call) {
    ELASTIC_CHECK_MPI(
        MPI_Reduce_scatter(data, mine, lengths(offsets).data(), type, MPI_SUM, comm.handle()));
  } else {
    for (int r = 0; r < comm.size(); ++r)
      for (index_t begin = offsets[r]; begin < offsets[r + 1]; begin += largest_call) {
        const auto count = static_cast<int>(std::min(largest_call, offsets[r + 1] - begin));
        ELASTIC_CHECK_MPI(MPI_Reduce(data + begin, mine + (begin - offsets[r]), count, type,
                                     MPI_SUM, r, comm.handle()));
      }
  }
}

template <class T>
void all_gather(const Communicator& comm, const T* mine, const std::vector<index_t>& offsets,
                T* all, index_t largest_call) {
  check_offsets(comm, offsets);
  const impl::InCollective entered(comm, "all_gather");
  const MPI_Datatype type = impl::mpi_type<T>();
  const int rank = comm.rank();
  const bool in_place = mine == all + offsets[rank];
  if (offsets.back() <= largest_call) {
    const auto counts = lengths(offsets);
    const std::vector<int> begins(offsets.begin(), offsets.end() - 1);
    ELASTIC_CHECK_MPI(MPI_Allgatherv(in_place ? MPI_IN_PLACE : mine, counts[rank], type, all,
                                     counts.data(), begins.data(), type, comm.handle()));
    return;
  }
  const auto bytes = [&](int r) { return (offsets[r + 1] - offsets[r]) * sizeof(T); };
  if (!in_place) {
    Messages to_myself(comm);
    to_myself.receive(all + offsets[rank], bytes(rank), rank);
    to_myself.send(mine, bytes(rank), rank);
    to_myself.wait();
  }
  for (int r = 0; r < comm.size(); ++r) broadcast(comm, all + offsets[r], bytes(r), r);
}

template <Summable T>
void impl::sum_parts_in_tree(const Communicator& comm, const T* data,
                             const std::vector<index_t>& offsets, T* mine) {
  constexpr index_t memory = index_t(1) << 20;  // elements
  const Kokkos::DefaultHostExecutionSpace host;
  const int ranks = comm.size(), me = comm.rank();
  index_t longest = 0;
  for (int r = 0; r < ranks; ++r) longest = std::max(longest, offsets[r + 1] - offsets[r]);
  const index_t piece = std::clamp<index_t>(longest, 1, std::max<index_t>(memory / ranks, 1));
  std::vector<T> terms(static_cast<std::size_t>(ranks * piece));
  for (index_t begin = 0; begin < longest; begin += piece) {
    const auto length = [&](int r) {
      return std::clamp<index_t>(offsets[r + 1] - offsets[r] - begin, 0, piece);
    };
    Messages messages(comm);
    for (int i = 1; i < ranks; ++i) {  // everybody starts with another partner
      const int from = (me - i + ranks) % ranks, to = (me + i) % ranks;
      messages.receive(terms.data() + from * piece, length(me) * sizeof(T), from);
      messages.send(data + offsets[to] + begin, length(to) * sizeof(T), to);
    }
    std::copy_n(data + offsets[me] + begin, length(me), terms.data() + me * piece);
    messages.wait();
    tree_sum(host, terms.data(), ranks, piece, length(me));
    fence(host, "elastic::tree_sum");
    std::copy_n(terms.data(), length(me), mine + begin);
  }
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void reduce_scatter_sum<T>(const Communicator&, const T*, const std::vector<index_t>&, \
                                      T*, index_t);                                               \
  template void all_gather<T>(const Communicator&, const T*, const std::vector<index_t>&, T*,     \
                              index_t);                                                           \
  template void impl::sum_parts_in_tree<T>(const Communicator&, const T*,                         \
                                           const std::vector<index_t>&, T*);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(index_t)
#undef ELASTIC_INSTANTIATE
template void all_gather<int>(const Communicator&, const int*, const std::vector<index_t>&, int*,
                              index_t);
template void all_gather<bfloat16>(const Communicator&, const bfloat16*,
                                   const std::vector<index_t>&, bfloat16*, index_t);

}  // namespace elastic
