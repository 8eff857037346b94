// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/convert.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

template <class To, class From>
void convert(const ExecutionSpace& exec, In2<From> from, InOut2<To> to) {
  const auto m = static_cast<index_t>(from.extent(0)), n = static_cast<index_t>(from.extent(1));
  require_shape("convert", "to", to, m, n);
  for_row_pieces(
      exec, "elastic::convert", m, n,
      KOKKOS_LAMBDA(const index_t i, const index_t begin, const index_t end) {
        const From* from_i = &from(i, 0);
        To* to_i = &to(i, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) store_rounded<To>(to_i[j], widen(from_i[j]));
      });
}

template void convert<float, float>(const ExecutionSpace&, In2<float>, InOut2<float>);
template void convert<double, double>(const ExecutionSpace&, In2<double>, InOut2<double>);
template void convert<bfloat16, float>(const ExecutionSpace&, In2<float>, InOut2<bfloat16>);
template void convert<float, bfloat16>(const ExecutionSpace&, In2<bfloat16>, InOut2<float>);

}  // namespace elastic::kernels
