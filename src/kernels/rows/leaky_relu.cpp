// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/leaky_relu.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

template <class T>
void leaky_relu_forward(const ExecutionSpace& exec, In2<T> x, Accumulate<T> slope, InOut2<T> y) {
  const auto m = static_cast<index_t>(x.extent(0)), n = static_cast<index_t>(x.extent(1));
  require_shape("leaky_relu_forward", "y", y, m, n);
  for_row_pieces(
      exec, "elastic::leaky_relu_forward", m, n,
      KOKKOS_LAMBDA(const index_t i, const index_t begin, const index_t end) {
        const T* x_i = &x(i, 0);
        T* y_i = &y(i, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) {
          const Accumulate<T> v = widen(x_i[j]);
          store_rounded(y_i[j], v > 0 ? v : slope * v);
        }
      });
}

template <class T>
void leaky_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, Accumulate<T> slope,
                         InOut2<T> dx) {
  const auto m = static_cast<index_t>(x.extent(0)), n = static_cast<index_t>(x.extent(1));
  require_shape("leaky_relu_backward", "dy", dy, m, n);
  require_shape("leaky_relu_backward", "dx", dx, m, n);
  for_row_pieces(
      exec, "elastic::leaky_relu_backward", m, n,
      KOKKOS_LAMBDA(const index_t i, const index_t begin, const index_t end) {
        const T* x_i = &x(i, 0);
        const T* dy_i = &dy(i, 0);
        T* dx_i = &dx(i, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) {
          const Accumulate<T> d = widen(dy_i[j]);
          store_rounded(dx_i[j], widen(x_i[j]) > 0 ? d : slope * d);
        }
      });
}

#define ELASTIC_INSTANTIATE(T)                                                                  \
  template void leaky_relu_forward<T>(const ExecutionSpace&, In2<T>, Accumulate<T>, InOut2<T>); \
  template void leaky_relu_backward<T>(const ExecutionSpace&, In2<T>, In2<T>, Accumulate<T>,    \
                                       InOut2<T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
