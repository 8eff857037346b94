// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/leaky_relu.hpp"

#include "kernels/rows/row_map.hpp"

namespace elastic::kernels {
namespace {

template <class A>
struct LeakyRelu {
  A slope;
  KOKKOS_INLINE_FUNCTION A operator()(A, A x) const { return x > 0 ? x : slope * x; }
};
template <class A>
struct InputGradient {
  A slope;
  KOKKOS_INLINE_FUNCTION A operator()(A, A x, A dy) const { return x > 0 ? dy : slope * dy; }
};

}  // namespace

template <class T>
void leaky_relu_forward(const ExecutionSpace& exec, In2<T> x, Accumulate<T> slope, InOut2<T> y) {
  const auto m = static_cast<index_t>(x.extent(0)), n = static_cast<index_t>(x.extent(1));
  require_shape("leaky_relu_forward", "y", y, m, n);
  map_rows<T, T>(exec, "elastic::leaky_relu_forward", LeakyRelu<Accumulate<T>>{slope}, {}, x, y);
}

template <class T>
void leaky_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, Accumulate<T> slope,
                         InOut2<T> dx) {
  const auto m = static_cast<index_t>(x.extent(0)), n = static_cast<index_t>(x.extent(1));
  require_shape("leaky_relu_backward", "dy", dy, m, n);
  require_shape("leaky_relu_backward", "dx", dx, m, n);
  map_rows<T, T, T>(exec, "elastic::leaky_relu_backward", InputGradient<Accumulate<T>>{slope}, {},
                    x, dy, dx);
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
