// SPDX-License-Identifier: Apache-2.0
// Memory of a View that MPI can use: the View itself where the host or MPI reaches it, else a copy
// on the host. Internal to comm and its View overloads.
#pragma once
#include "base/shapes.hpp"
#include "base/types.hpp"
#include "comm/mpi_environment.hpp"

namespace elastic::impl {

/// What MPI does with the memory.
enum class Access { read, write, read_write };

template <class V>
inline constexpr bool on_host =
    Kokkos::SpaceAccessibility<HostSpace, typename V::memory_space>::accessible;

/// Calls `operation(pointer)` with memory of `view` that MPI can use; `view` must not have gaps.
/// `on_processor`: the processor will read or write it too. Waits for running kernels first.
template <class V, class Operation>
void with_mpi_pointer(const char* function, const V& view, Access access, bool on_processor,
                      const Operation& operation) {
  ELASTIC_REQUIRE(view.span_is_contiguous(), "{}: the View has gaps between its rows", function);
  Kokkos::fence();
  if (on_host<V> || (mpi_is_device_aware() && !on_processor)) {
    operation(view.data());
    return;
  }
  const auto h_view = Kokkos::create_mirror_view(view);
  if (access != Access::write) Kokkos::deep_copy(h_view, view);
  operation(static_cast<typename V::pointer_type>(h_view.data()));
  if constexpr (!std::is_const_v<typename V::value_type>)
    if (access != Access::read) Kokkos::deep_copy(view, h_view);
}

}  // namespace elastic::impl
