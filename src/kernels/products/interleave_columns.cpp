// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/interleave_columns.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

template <class T>
void interleave_columns(const ExecutionSpace& exec, In2<T> parts, index_t ranks, InOut2<T> out) {
  const auto count = static_cast<index_t>(out.extent(0)),
             columns = static_cast<index_t>(out.extent(1));
  require_shape("interleave_columns", "parts", parts, ranks * count,
                static_cast<index_t>(parts.extent(1)));
  ELASTIC_REQUIRE(static_cast<index_t>(parts.extent(1)) * ranks >= columns,
                  "interleave_columns: {} columns of {} ranks for {}", parts.extent(1), ranks,
                  columns);
  const auto parts_count = static_cast<std::uint32_t>(ranks);  // 32 bits divide faster on a device
  for_row_pieces(
      exec, "elastic::interleave_columns", count, columns,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        for (index_t v = begin; v < end; ++v) {
          const auto column = static_cast<std::uint32_t>(v);
          out(t, v) = parts(column % parts_count * count + t, column / parts_count);
        }
      });
}

template void interleave_columns<float>(const ExecutionSpace&, In2<float>, index_t, InOut2<float>);
template void interleave_columns<double>(const ExecutionSpace&, In2<double>, index_t,
                                         InOut2<double>);
template void interleave_columns<bfloat16>(const ExecutionSpace&, In2<bfloat16>, index_t,
                                           InOut2<bfloat16>);

}  // namespace elastic::kernels
