// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/logit_difference.hpp"

#include "base/shapes.hpp"

namespace elastic::kernels {
namespace {
using Rows = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
}

template <class T>
void squared_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> difference, InOut1<Accumulate<T>> norm) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("squared_difference", "b", b, rows, columns);
  require_shape("squared_difference", "difference", difference, rows);
  require_shape("squared_difference", "norm", norm, rows);
  Kokkos::parallel_for(
      "elastic::squared_difference", Rows(exec, 0, rows), KOKKOS_LAMBDA(index_t t) {
        Accumulate<T> square = 0, size = 0;
        for (index_t v = 0; v < columns; ++v) {
          const Accumulate<T> x = widen(a(t, v)), d = x - widen(b(t, v));
          square += d * d;
          size += x * x;
        }
        difference(t) = square;
        norm(t) = size;
      });
}

template <class T>
void max_abs_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> maximum) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("max_abs_difference", "b", b, rows, columns);
  require_shape("max_abs_difference", "maximum", maximum, rows);
  Kokkos::parallel_for(
      "elastic::max_abs_difference", Rows(exec, 0, rows), KOKKOS_LAMBDA(index_t t) {
        Accumulate<T> largest = 0;
        for (index_t v = 0; v < columns; ++v) {
          const Accumulate<T> d = math::abs(widen(a(t, v)) - widen(b(t, v)));
          // A NaN must not hide behind a comparison that is false: neither a new nor an old one.
          largest = ((d <= largest) | (largest != largest)) ? largest : d;
        }
        maximum(t) = largest;
      });
}

#define ELASTIC_INSTANTIATE(T)                                                       \
  template void squared_difference<T>(const ExecutionSpace&, In2<T>, In2<T>,         \
                                      InOut1<Accumulate<T>>, InOut1<Accumulate<T>>); \
  template void max_abs_difference<T>(const ExecutionSpace&, In2<T>, In2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
