// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/head_channels.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// Checks both shapes; returns the number of packed rows.
template <class Full, class Packed>
index_t checked_rows(const char* function, const Full& full, const Packed& packed, index_t head_dim,
                     index_t active) {
  const auto rows = static_cast<index_t>(packed.extent(0));
  ELASTIC_REQUIRE(0 < active && active <= head_dim && rows % active == 0,
                  "{}: {} rows, {} of {} channels", function, rows, active, head_dim);
  ELASTIC_REQUIRE(static_cast<index_t>(full.extent(0)) >= rows / active * head_dim &&
                      full.extent(1) == packed.extent(1),
                  "{}: full is [{}, {}], packed [{}, {}]", function, full.extent(0), full.extent(1),
                  rows, packed.extent(1));
  return rows;
}

/// The row of the full matrix that is row `row` of the packed one; in 32 bits, which divide faster
/// on a device.
KOKKOS_INLINE_FUNCTION index_t full_row(index_t row, index_t head_dim, index_t active) {
  const auto packed = static_cast<std::uint32_t>(row), width = static_cast<std::uint32_t>(active);
  return packed / width * head_dim + packed % width;
}

}  // namespace

template <class T>
void pack_head_channels(const ExecutionSpace& exec, In2<T> full, index_t head_dim,
                        index_t active_head_dim, InOut2<T> packed) {
  const index_t rows = checked_rows("pack_head_channels", full, packed, head_dim, active_head_dim);
  for_row_pieces(
      exec, "elastic::pack_head_channels", rows, static_cast<index_t>(packed.extent(1)),
      KOKKOS_LAMBDA(const index_t row, const index_t begin, const index_t end) {
        const T* from = &full(full_row(row, head_dim, active_head_dim), 0);
        T* to = &packed(row, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) to[j] = from[j];
      });
}

template <class T>
void unpack_add_head_channels(const ExecutionSpace& exec, In2<Accumulate<T>> packed,
                              index_t head_dim, index_t active_head_dim,
                              InOut2<Accumulate<T>> full) {
  const index_t rows =
      checked_rows("unpack_add_head_channels", full, packed, head_dim, active_head_dim);
  for_row_pieces(
      exec, "elastic::unpack_add_head_channels", rows, static_cast<index_t>(packed.extent(1)),
      KOKKOS_LAMBDA(const index_t row, const index_t begin, const index_t end) {
        const Accumulate<T>* from = &packed(row, 0);
        Accumulate<T>* to = &full(full_row(row, head_dim, active_head_dim), 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) to[j] += from[j];
      });
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void pack_head_channels<T>(const ExecutionSpace&, In2<T>, index_t, index_t, InOut2<T>); \
  template void unpack_add_head_channels<T>(const ExecutionSpace&, In2<Accumulate<T>>, index_t,    \
                                            index_t, InOut2<Accumulate<T>>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
