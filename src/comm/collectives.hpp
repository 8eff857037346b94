// SPDX-License-Identifier: Apache-2.0
// Collective operations: every rank of the communicator calls them, in the same order. They throw
// RunError if MPI fails. Counts may exceed 2^31.
//
//   all_reduce_sum(world, gradient);                    // a View: in place, on the device if MPI
//   can do that const double worst = all_reduce_max(world, mine);
#pragma once
#include <string>
#include <type_traits>
#include <vector>

#include "base/shapes.hpp"
#include "base/types.hpp"
#include "comm/communicator.hpp"
#include "comm/mpi_environment.hpp"

namespace elastic {

/// data_i = sum over ranks of data_i, in place, on all ranks. T = float, double, index_t or int.
/// Memory must be visible to MPI. In rank order if the communicator is deterministic.
template <class T>
void all_reduce_sum(const Communicator& comm, T* data, index_t count);
template <class T>
void all_reduce_sum(const Communicator& comm, std::vector<T>& data) {
  all_reduce_sum(comm, data.data(), static_cast<index_t>(data.size()));
}

/// One value per rank in, the same value on all ranks out. T = double, index_t or int.
template <class T>
T all_reduce_max(const Communicator& comm, T value);
template <class T>
T all_reduce_min(const Communicator& comm, T value);
template <class T>
T all_reduce_sum(const Communicator& comm, T value) {
  all_reduce_sum(comm, &value, 1);
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

namespace impl {

/// Calls `operation(pointer)` with memory of `view` that MPI can use: the View itself where the
/// host or MPI reaches it, else a host copy that is copied back afterwards.
template <class V, class Operation>
void with_mpi_pointer(const char* function, const V& view, const Operation& operation) {
  ELASTIC_REQUIRE(view.span_is_contiguous(), "{}: the View has gaps between its rows", function);
  Kokkos::fence();  // kernels that still write the View
  constexpr bool on_host =
      Kokkos::SpaceAccessibility<HostSpace, typename V::memory_space>::accessible;
  if (on_host || mpi_is_device_aware()) {
    operation(view.data());
    return;
  }
  auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), view);
  operation(h_view.data());
  Kokkos::deep_copy(view, h_view);
}

}  // namespace impl

/// As above for Views (contiguous, any rank, in place). Waits for running kernels first.
template <class S, class... Properties>
void all_reduce_sum(const Communicator& comm, const Kokkos::View<S, Properties...>& view) {
  if (comm.size() == 1 || view.size() == 0) return;
  impl::with_mpi_pointer("all_reduce_sum", view, [&](auto* data) {
    all_reduce_sum(comm, data, static_cast<index_t>(view.size()));
  });
}
template <class S, class... Properties>
void broadcast(const Communicator& comm, const Kokkos::View<S, Properties...>& view, int root = 0) {
  if (comm.size() == 1 || view.size() == 0) return;
  impl::with_mpi_pointer("broadcast", view, [&](auto* data) {
    broadcast(comm, static_cast<void*>(data), view.size() * sizeof(*data), root);
  });
}

}  // namespace elastic
