// SPDX-License-Identifier: Apache-2.0
#include "kernels/scan/ssd_span_passing.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

template <class T>
void ssd_span_passing(const ExecutionSpace& exec, Direction direction, In1<index_t> places,
                      In1<Accumulate<T>> decay, InOut2<Accumulate<T>> states) {
  const auto spans = static_cast<index_t>(places.extent(0)),
             rows = static_cast<index_t>(states.extent(0)) / spans,
             columns = static_cast<index_t>(states.extent(1));
  require_shape("ssd_span_passing", "states", states, spans * rows, columns);
  require_shape("ssd_span_passing", "decay", decay, spans * rows);
  const bool backward = direction == Direction::backward;
  constexpr index_t run = on_host ? 256 : 1;
  const index_t runs = (columns + run - 1) / run;
  Kokkos::parallel_for(
      "elastic::ssd_span_passing", LinearPolicy(exec, 0, rows * runs),
      KOKKOS_LAMBDA(const index_t piece) {
        const index_t row = piece / runs, first = piece % runs * run,
                      count = math::min(run, columns - first);
        Accumulate<T> carried[run] = {};
        for (index_t i = 0; i < spans; ++i) {
          const index_t at = places(backward ? spans - 1 - i : i) * rows + row;
          const Accumulate<T> d = decay(at);
          Accumulate<T>* value = &states(at, first);
          ELASTIC_SIMD
          for (index_t e = 0; e < count; ++e) {
            const Accumulate<T> added = value[e];
            value[e] = carried[e];
            carried[e] = d * carried[e] + added;
          }
        }
      });
}

#define ELASTIC_INSTANTIATE(T)                                                      \
  template void ssd_span_passing<T>(const ExecutionSpace&, Direction, In1<index_t>, \
                                    In1<Accumulate<T>>, InOut2<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
