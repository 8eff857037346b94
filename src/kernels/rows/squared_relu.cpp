// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/squared_relu.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

template <class A>
KOKKOS_INLINE_FUNCTION A relu(A x) {
  return math::max(x, A(0));
}

/// dmask_f += sum_t 2 relu(m x) x dy: pieces of columns walk all tokens in order.
template <class T>
void add_mask_gradient(const ExecutionSpace& exec, const View2<const T>& dy,
                       const View2<const T>& x, const View1<const Accumulate<T>>& mask,
                       const View1<Accumulate<T>>& dmask) {
  const auto tokens = static_cast<index_t>(x.extent(0));
  for_column_pieces(
      exec, "elastic::squared_relu_backward_mask", static_cast<index_t>(dmask.extent(0)),
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        with_mask<Accumulate<T>>(mask, [&](const auto& m) {
          Accumulate<T>* sum = dmask.data();
          for (index_t t = 0; t < tokens; ++t) {
            const T *x_t = &x(t, 0), *dy_t = &dy(t, 0);
            ELASTIC_SIMD
            for (index_t f = begin; f < end; ++f)
              sum[f] += 2 * relu(m(f) * widen(x_t[f])) * widen(x_t[f]) * widen(dy_t[f]);
          }
        });
      });
}

}  // namespace

template <class T>
void squared_relu_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          InOut2<T> y) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape_or_empty("squared_relu_forward", "mask", mask, width);
  require_shape("squared_relu_forward", "y", y, tokens, width);
  for_row_pieces(
      exec, "elastic::squared_relu_forward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<Accumulate<T>>(mask, [&](const auto& m) {
          const T* x_t = &x(t, 0);
          T* y_t = &y(t, 0);
          ELASTIC_SIMD
          for (index_t f = begin; f < end; ++f) {
            const Accumulate<T> r = relu(m(f) * widen(x_t[f]));
            store_rounded(y_t[f], r * r);
          }
        });
      });
}

template <class T>
void squared_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<Accumulate<T>> mask,
                           InOut2<T> dx, InOut1<Accumulate<T>> dmask) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("squared_relu_backward", "dy", dy, tokens, width);
  require_shape_or_empty("squared_relu_backward", "mask", mask, width);
  require_shape("squared_relu_backward", "dx", dx, tokens, width);
  require_shape_or_empty("squared_relu_backward", "dmask", dmask, width);
  add_mask_gradient<T>(exec, dy, x, mask, dmask);  // first, because dx may overwrite dy
  for_row_pieces(
      exec, "elastic::squared_relu_backward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<Accumulate<T>>(mask, [&](const auto& m) {
          const T *x_t = &x(t, 0), *dy_t = &dy(t, 0);
          T* dx_t = &dx(t, 0);
          ELASTIC_SIMD
          for (index_t f = begin; f < end; ++f)
            store_rounded(dx_t[f], 2 * m(f) * relu(m(f) * widen(x_t[f])) * widen(dy_t[f]));
        });
      });
}

#define ELASTIC_INSTANTIATE(T)                                                             \
  template void squared_relu_forward<T>(const ExecutionSpace&, In2<T>, In1<Accumulate<T>>, \
                                        InOut2<T>);                                        \
  template void squared_relu_backward<T>(const ExecutionSpace&, In2<T>, In2<T>,            \
                                         In1<Accumulate<T>>, InOut2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
