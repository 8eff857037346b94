// SPDX-License-Identifier: Apache-2.0
// Rows of sums for kernels that pass over a row more than once and store it in a narrower type.
#pragma once
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

/// Calls body(i, scratch) for i < count, each with its own `size` elements of type A, not
/// initialised; without scratch (size 0, a null pointer) in a plain range.
template <class A, class F>
void for_each_with_scratch(const ExecutionSpace& exec, const char* label, index_t count,
                           index_t size, const F& body) {
  if (size == 0) {
    Kokkos::parallel_for(
        label, LinearPolicy(exec, 0, count),
        KOKKOS_LAMBDA(const index_t i) { body(i, static_cast<A*>(nullptr)); });
    return;
  }
  const index_t bytes = size * static_cast<index_t>(sizeof(A));
  const int level = scratch_level(bytes);
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, static_cast<int>(count), 1);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      label, policy, KOKKOS_LAMBDA(const Kokkos::TeamPolicy<ExecutionSpace>::member_type& team) {
        body(static_cast<index_t>(team.league_rank()),
             static_cast<A*>(
                 team.team_scratch(level).get_shmem_aligned(static_cast<std::size_t>(bytes), 64)));
      });
}

}  // namespace elastic::kernels
