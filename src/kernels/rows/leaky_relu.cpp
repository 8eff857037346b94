// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/leaky_relu.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

template <class T>
void leaky_relu_forward(const ExecutionSpace& exec, In2<T> x, std::type_identity_t<T> slope,
                        InOut2<T> y) {
  const auto m = static_cast<index_t>(x.extent(0)), n = static_cast<index_t>(x.extent(1));
  require_shape("leaky_relu_forward", "y", y, m, n);
  for_row_pieces(
      exec, "elastic::leaky_relu_forward", m, n,
      KOKKOS_LAMBDA(const index_t i, const index_t begin, const index_t end) {
        const T* x_i = &x(i, 0);
        T* y_i = &y(i, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) y_i[j] = x_i[j] > T(0) ? x_i[j] : slope * x_i[j];
      });
}

template <class T>
void leaky_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x,
                         std::type_identity_t<T> slope, InOut2<T> dx) {
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
        for (index_t j = begin; j < end; ++j) dx_i[j] = x_i[j] > T(0) ? dy_i[j] : slope * dy_i[j];
      });
}

template void leaky_relu_forward<float>(const ExecutionSpace&, In2<float>, float, InOut2<float>);
template void leaky_relu_forward<double>(const ExecutionSpace&, In2<double>, double,
                                         InOut2<double>);
template void leaky_relu_backward<float>(const ExecutionSpace&, In2<float>, In2<float>, float,
                                         InOut2<float>);
template void leaky_relu_backward<double>(const ExecutionSpace&, In2<double>, In2<double>, double,
                                          InOut2<double>);

}  // namespace elastic::kernels
