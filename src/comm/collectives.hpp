// SPDX-License-Identifier: Apache-2.0
// Collective operations: every rank of the communicator calls them, in the same order. They throw
// RunError if MPI fails. Counts may exceed 2^31.
//
//   all_reduce_sum(world, gradient);   // a View: in place, on the device if MPI can do that
//   const double worst = all_reduce_max(world, mine);
#pragma once
#include <string>
#include <type_traits>
#include <vector>

#include "base/shapes.hpp"
#include "base/types.hpp"
#include "comm/communicator.hpp"
#include "comm/messages.hpp"
#include "comm/mpi_pointer.hpp"
#include "comm/summable.hpp"

namespace elastic {

/// data_i = sum over ranks of data_i, in place, on all ranks. all_reduce_max and all_reduce_min
/// give the largest and the smallest instead (undefined for NaN). T = float, double, index_t or
/// int, not bfloat16 (comm/summable.hpp). Memory must be visible to MPI.
///
/// On a deterministic communicator floating-point sums have the order of comm/tree_sum.hpp, with
/// the traffic of a ring; memory must then be visible to the host.
template <Summable T>
void all_reduce_sum(const Communicator& comm, T* data, index_t count);
template <Summable T>
void all_reduce_max(const Communicator& comm, T* data, index_t count);
template <Summable T>
void all_reduce_min(const Communicator& comm, T* data, index_t count);
template <Summable T>
void all_reduce_sum(const Communicator& comm, std::vector<T>& data) {
  all_reduce_sum(comm, data.data(), static_cast<index_t>(data.size()));
}

/// One value per rank in, the same value on all ranks out.
template <Summable T>
T all_reduce_sum(const Communicator& comm, T value) {
  all_reduce_sum(comm, &value, 1);
  return value;
}
template <Summable T>
T all_reduce_max(const Communicator& comm, T value) {
  all_reduce_max(comm, &value, 1);
  return value;
}
template <Summable T>
T all_reduce_min(const Communicator& comm, T value) {
  all_reduce_min(comm, &value, 1);
  return value;
}

/// Copies what rank `root` holds to all ranks; strings and vectors take the size of the root's.
void broadcast(const Communicator& comm, void* data, std::size_t bytes, int root = 0);
void broadcast(const Communicator& comm, std::string& text, int root = 0);
template <class T>
void broadcast(const Communicator& comm, std::vector<T>& data, int root = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  index_t count = static_cast<index_t>(data.size());
  broadcast(comm, &count, sizeof count, root);
  data.resize(static_cast<std::size_t>(count));
  broadcast(comm, data.data(), data.size() * sizeof(T), root);
}

/// The strings of all ranks in rank order on rank 0; nothing on the other ranks.
std::vector<std::string> gather_strings(const Communicator& comm, const std::string& mine);

void barrier(const Communicator& comm);

/// The reductions above for Views (contiguous, any rank, in place). Wait for running kernels first.
template <class S, class... Properties>
requires Summable<typename Kokkos::View<S, Properties...>::value_type>
void all_reduce_sum(const Communicator& comm, const Kokkos::View<S, Properties...>& view) {
  if (comm.size() == 1 || view.size() == 0) return;
  using T = typename Kokkos::View<S, Properties...>::value_type;
  impl::with_mpi_pointer("all_reduce_sum", view, impl::Access::read_write,
                         comm.deterministic() && std::is_floating_point_v<T>, [&](T* data) {
                           all_reduce_sum(comm, data, static_cast<index_t>(view.size()));
                         });
}
template <class S, class... Properties>
requires Summable<typename Kokkos::View<S, Properties...>::value_type>
void all_reduce_max(const Communicator& comm, const Kokkos::View<S, Properties...>& view) {
  if (comm.size() == 1 || view.size() == 0) return;
  impl::with_mpi_pointer("all_reduce_max", view, impl::Access::read_write, false, [&](auto* data) {
    all_reduce_max(comm, data, static_cast<index_t>(view.size()));
  });
}
template <class S, class... Properties>
requires Summable<typename Kokkos::View<S, Properties...>::value_type>
void all_reduce_min(const Communicator& comm, const Kokkos::View<S, Properties...>& view) {
  if (comm.size() == 1 || view.size() == 0) return;
  impl::with_mpi_pointer("all_reduce_min", view, impl::Access::read_write, false, [&](auto* data) {
    all_reduce_min(comm, data, static_cast<index_t>(view.size()));
  });
}
template <class S, class... Properties>
void broadcast(const Communicator& comm, const Kokkos::View<S, Properties...>& view, int root = 0) {
  if (comm.size() == 1 || view.size() == 0) return;
  impl::with_mpi_pointer("broadcast", view, impl::Access::read_write, false, [&](auto* data) {
    broadcast(comm, static_cast<void*>(data), view.size() * sizeof(*data), root);
  });
}

/// Sends `sent` to rank `to` and fills `received` from rank `from`. Either may be no_rank,
/// the neighbour beyond the end: `sent` is then not read, `received` left as it is.
/// Sizes may differ between ranks, but not between the two ends of a message.
template <class S, class... Sent, class T, class... Received>
void send_receive(const Communicator& comm, const Kokkos::View<S, Sent...>& sent, int to,
                  const Kokkos::View<T, Received...>& received, int from) {
  impl::with_mpi_pointer("send_receive", sent, impl::Access::read, false, [&](const auto* out) {
    impl::with_mpi_pointer("send_receive", received, impl::Access::read_write, false,
                           [&](auto* in) {
                             Messages messages(comm);
                             messages.receive(in, received.size() * sizeof(*in), from);
                             messages.send(out, sent.size() * sizeof(*out), to);
                             messages.wait();
                           });
  });
}

}  // namespace elastic
