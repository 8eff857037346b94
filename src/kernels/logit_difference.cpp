// SPDX-License-Identifier: Apache-2.0
#include "kernels/logit_difference.hpp"

#include "base/shapes.hpp"

namespace elastic::kernels {
namespace {
using Rows = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
}

template <class S>
void squared_difference(const ExecutionSpace& exec, In2<S> a, In2<S> b, InOut1<S> difference,
                        InOut1<S> norm) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("squared_difference", "b", b, rows, columns);
  require_shape("squared_difference", "difference", difference, rows);
  require_shape("squared_difference", "norm", norm, rows);
  Kokkos::parallel_for(
      "elastic::squared_difference", Rows(exec, 0, rows), KOKKOS_LAMBDA(index_t t) {
        S square = 0, size = 0;
        for (index_t v = 0; v < columns; ++v) {
          const S d = a(t, v) - b(t, v);
          square += d * d;
          size += a(t, v) * a(t, v);
        }
        difference(t) = square;
        norm(t) = size;
      });
}

template <class S>
void max_abs_difference(const ExecutionSpace& exec, In2<S> a, In2<S> b, InOut1<S> maximum) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("max_abs_difference", "b", b, rows, columns);
  require_shape("max_abs_difference", "maximum", maximum, rows);
  Kokkos::parallel_for(
      "elastic::max_abs_difference", Rows(exec, 0, rows), KOKKOS_LAMBDA(index_t t) {
        S largest = 0;
        for (index_t v = 0; v < columns; ++v) {
          const S d = math::abs(a(t, v) - b(t, v));
          // A NaN must not hide behind a comparison that is false.
          largest = d <= largest ? largest : d;
        }
        maximum(t) = largest;
      });
}

#define ELASTIC_INSTANTIATE(S)                                                          \
  template void squared_difference<S>(const ExecutionSpace&, In2<S>, In2<S>, InOut1<S>, \
                                      InOut1<S>);                                       \
  template void max_abs_difference<S>(const ExecutionSpace&, In2<S>, In2<S>, InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
