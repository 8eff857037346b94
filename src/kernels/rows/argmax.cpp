// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/argmax.hpp"

#include "base/shapes.hpp"

namespace elastic::kernels {

template <class T>
void argmax_rows(const ExecutionSpace& exec, In2<T> logits, InOut1<token_t> index) {
  const auto rows = static_cast<index_t>(logits.extent(0)),
             columns = static_cast<index_t>(logits.extent(1));
  require_shape("argmax_rows", "index", index, rows);
  ELASTIC_REQUIRE(columns > 0, "argmax_rows: logits have no columns");
  Kokkos::parallel_for(
      "elastic::argmax_rows",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(exec, 0, rows),
      KOKKOS_LAMBDA(index_t r) {
        index_t best = 0;
        for (index_t v = 1; v < columns; ++v)
          if (widen(logits(r, v)) > widen(logits(r, best))) best = v;
        index(r) = static_cast<token_t>(best);
      });
}

template void argmax_rows<bfloat16>(const ExecutionSpace&, In2<bfloat16>, InOut1<token_t>);
template void argmax_rows<float>(const ExecutionSpace&, In2<float>, InOut1<token_t>);
template void argmax_rows<double>(const ExecutionSpace&, In2<double>, InOut1<token_t>);

}  // namespace elastic::kernels
