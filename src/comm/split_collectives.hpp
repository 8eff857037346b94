// SPDX-License-Identifier: Apache-2.0
// Collectives on arrays that are cut into contiguous parts, one for each rank.
// Reduce-scatter leaves every rank its part of a sum; all-gather makes whole arrays from the parts.
// Parts may differ in length and be empty.
//
//   reduce_scatter_rows(tensor, partial, mine);   // [T, D] -> [T/ranks, D]
//   all_gather_rows(tensor, mine, all);           // [T/ranks, D] -> [T, D]
//
// As in comm/collectives.hpp, every rank of the communicator calls them in the same order, they
// throw RunError if MPI fails, and counts may exceed 2^31.
#pragma once
#include <vector>

#include "comm/communicator.hpp"
#include "comm/mpi_pointer.hpp"
#include "comm/summable.hpp"

namespace elastic {

/// The part of `rank`: elements [count * rank / ranks, count * (rank + 1) / ranks).
constexpr Range part_of(index_t count, int rank, int ranks) {
  return {count * rank / ranks, count * (rank + 1) / ranks};
}
/// Begin of every rank's part, and the end of the last: [ranks + 1].
std::vector<index_t> equal_parts(index_t count, int ranks);

namespace impl {
inline constexpr index_t largest_call = index_t(1) << 30;  // elements of one MPI call
}

/// mine_i = sum over ranks of data_{offsets[rank] + i}. T = float, double or index_t,
/// not bfloat16 (comm/summable.hpp).
///
/// Part r is [offsets[r], offsets[r+1]); offsets start at 0. `mine` must lie outside of `data`. If
/// the communicator is deterministic, the sum has the order of comm/tree_sum.hpp and memory must be
/// that of the host; otherwise MPI chooses.
template <Summable T>
void reduce_scatter_sum(const Communicator& comm, const T* data,
                        const std::vector<index_t>& offsets, T* mine,
                        index_t largest_call = impl::largest_call);
/// all_{offsets[r] + i} = mine_i of rank r. `mine` may be the part of this rank in `all`.
/// T = bfloat16, float, double, index_t or int.
template <class T>
void all_gather(const Communicator& comm, const T* mine, const std::vector<index_t>& offsets,
                T* all, index_t largest_call = impl::largest_call);

namespace impl {

/// reduce_scatter_sum in the order of comm/tree_sum.hpp. `mine` may be this rank's part of `data`.
/// Takes memory for 2^20 numbers.
template <Summable T>
void sum_parts_in_tree(const Communicator& comm, const T* data, const std::vector<index_t>& offsets,
                       T* mine);

template <class V, class W>
void reduce_scatter_views(const char* function, const Communicator& comm, const V& all,
                          const std::vector<index_t>& offsets, const W& mine) {
  if (comm.size() == 1) return Kokkos::deep_copy(mine, all);
  using T = typename W::value_type;
  const bool on_processor = comm.deterministic() && std::is_floating_point_v<T>;
  with_mpi_pointer(function, all, Access::read, on_processor, [&](const T* from) {
    with_mpi_pointer(function, mine, Access::write, on_processor,
                     [&](T* to) { reduce_scatter_sum(comm, from, offsets, to); });
  });
}
template <class V, class W>
void all_gather_views(const char* function, const Communicator& comm, const V& mine,
                      const std::vector<index_t>& offsets, const W& all) {
  if (comm.size() == 1) return Kokkos::deep_copy(all, mine);
  using T = typename W::value_type;
  with_mpi_pointer(function, mine, Access::read, false, [&](const T* from) {
    with_mpi_pointer(function, all, Access::write, false,
                     [&](T* to) { all_gather(comm, from, offsets, to); });
  });
}

}  // namespace impl

/// mine [count of part_of] = this rank's part of the sum of `all` [n] over ranks.
template <Summable T>
void reduce_scatter_sum(const Communicator& comm, const std::type_identity_t<View1<const T>>& all,
                        const View1<T>& mine) {
  const auto offsets = equal_parts(static_cast<index_t>(all.extent(0)), comm.size());
  require_shape("reduce_scatter_sum", "mine", mine,
                offsets[comm.rank() + 1] - offsets[comm.rank()]);
  impl::reduce_scatter_views("reduce_scatter_sum", comm, all, offsets, mine);
}
/// all [n] from the parts [count of part_of].
template <class T>
void all_gather(const Communicator& comm, const std::type_identity_t<View1<const T>>& mine,
                const View1<T>& all) {
  const auto offsets = equal_parts(static_cast<index_t>(all.extent(0)), comm.size());
  require_shape("all_gather", "mine", mine, offsets[comm.rank() + 1] - offsets[comm.rank()]);
  impl::all_gather_views("all_gather", comm, mine, offsets, all);
}

/// Completes `all` [offsets.back()], of which this rank holds its part already.
template <class T>
void all_gather_in_place(const Communicator& comm, const std::vector<index_t>& offsets,
                         const View1<T>& all) {
  require_shape("all_gather_in_place", "all", all, offsets.back());
  if (comm.size() == 1) return;
  impl::with_mpi_pointer("all_gather_in_place", all, impl::Access::read_write, false, [&](T* data) {
    all_gather(comm, data + offsets[comm.rank()], offsets, data);
  });
}

/// Reduce-scatter and all-gather of blocks of rows: rank r has rows part_of(rows, r, ranks).
/// Matrices have no gaps.
template <Summable T>
void reduce_scatter_rows(const Communicator& comm, const std::type_identity_t<View2<const T>>& all,
                         const View2<T>& mine) {
  const auto columns = static_cast<index_t>(all.extent(1));
  auto offsets = equal_parts(static_cast<index_t>(all.extent(0)), comm.size());
  require_shape("reduce_scatter_rows", "mine", mine,
                offsets[comm.rank() + 1] - offsets[comm.rank()], columns);
  for (auto& offset : offsets) offset *= columns;
  impl::reduce_scatter_views("reduce_scatter_rows", comm, all, offsets, mine);
}
template <class T>
void all_gather_rows(const Communicator& comm, const std::type_identity_t<View2<const T>>& mine,
                     const View2<T>& all) {
  const auto columns = static_cast<index_t>(all.extent(1));
  auto offsets = equal_parts(static_cast<index_t>(all.extent(0)), comm.size());
  require_shape("all_gather_rows", "mine", mine, offsets[comm.rank() + 1] - offsets[comm.rank()],
                columns);
  for (auto& offset : offsets) offset *= columns;
  impl::all_gather_views("all_gather_rows", comm, mine, offsets, all);
}

}  // namespace elastic
