// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/cosine_similarity.hpp"

#include "base/shapes.hpp"

namespace elastic::kernels {

template <class T>
void cosine_similarity(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                       InOut1<Accumulate<T>> cosine) {
  using Rows = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("cosine_similarity", "b", b, rows, columns);
  require_shape("cosine_similarity", "cosine", cosine, rows);
  Kokkos::parallel_for(
      "elastic::cosine_similarity", Rows(exec, 0, rows), KOKKOS_LAMBDA(index_t t) {
        Accumulate<T> product = 0, a_square = 0, b_square = 0;
        for (index_t c = 0; c < columns; ++c) {
          const Accumulate<T> x = widen(a(t, c)), y = widen(b(t, c));
          product += x * y;
          a_square += x * x;
          b_square += y * y;
        }
        const Accumulate<T> lengths = math::sqrt(a_square) * math::sqrt(b_square);
        const bool both_zero = a_square == 0 && b_square == 0;
        cosine(t) = lengths == 0 ? Accumulate<T>(both_zero) : product / lengths;
      });
}

#define ELASTIC_INSTANTIATE(T) \
  template void cosine_similarity<T>(const ExecutionSpace&, In2<T>, In2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
