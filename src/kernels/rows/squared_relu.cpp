// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/squared_relu.hpp"

#include "kernels/rows/column_sums.hpp"
#include "kernels/rows/row_map.hpp"

namespace elastic::kernels {
namespace {

template <class A>
KOKKOS_INLINE_FUNCTION A relu(A x) {
  return math::max(x, A(0));
}

template <class A>
struct SquaredRelu {
  KOKKOS_INLINE_FUNCTION A operator()(A m, A x) const {
    const A r = relu(m * x);
    return r * r;
  }
};
/// The gradient by x.
template <class A>
struct InputGradient {
  KOKKOS_INLINE_FUNCTION A operator()(A m, A x, A dy) const { return 2 * m * relu(m * x) * dy; }
};
/// An element's term of the gradient by its mask.
template <class A>
KOKKOS_INLINE_FUNCTION A mask_term(A m, A x, A dy) {
  return 2 * relu(m * x) * x * dy;
}

/// The gradient by the mask: on a host, pieces of columns walk all tokens in order.
template <class T>
struct MaskGradient {
  using A = Accumulate<T>;
  View2<const T> dy, x;
  View1<const A> mask;
  View1<A> dmask;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const index_t begin, const index_t end) const {
    const auto tokens = static_cast<index_t>(x.extent(0));
    with_mask<A>(mask, [&](const auto& m) {
      A* sum = dmask.data();
      for (index_t t = 0; t < tokens; ++t) {
        const T *x_t = &x(t, 0), *dy_t = &dy(t, 0);
        ELASTIC_SIMD
        for (index_t f = begin; f < end; ++f)
          sum[f] += mask_term(m(f), widen(x_t[f]), widen(dy_t[f]));
      }
    });
  }
  /// A device's pack of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t f, const int count,
                                  Pack<A>& sum) const {
    const Pack<A> m = load_mask(mask, f, count, aligned), x_t = load_pack(&x(t, f), count, aligned),
                  dy_t = load_pack(&dy(t, f), count, aligned);
    for (int i = 0; i < pack_size; ++i) sum[i] += mask_term(m[i], x_t[i], dy_t[i]);
  }
};

}  // namespace

template <class T>
void squared_relu_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          InOut2<T> y) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape_or_empty("squared_relu_forward", "mask", mask, width);
  require_shape("squared_relu_forward", "y", y, tokens, width);
  map_rows<T, T>(exec, "elastic::squared_relu_forward", SquaredRelu<Accumulate<T>>(), mask, x, y);
}

template <class T>
void squared_relu_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<Accumulate<T>> mask,
                           InOut2<T> dx, InOut1<Accumulate<T>> dmask) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("squared_relu_backward", "dy", dy, tokens, width);
  require_shape_or_empty("squared_relu_backward", "mask", mask, width);
  require_shape("squared_relu_backward", "dx", dx, tokens, width);
  require_shape_or_empty("squared_relu_backward", "dmask", dmask, width);
  // The mask first, because dx may overwrite dy.
  sum_columns<Accumulate<T>>(exec, "elastic::squared_relu_backward_mask", tokens,
                             MaskGradient<T>{dy, x, mask, dmask, packs_are_aligned(dy, x, mask)},
                             dmask);
  map_rows<T, T, T>(exec, "elastic::squared_relu_backward", InputGradient<Accumulate<T>>(), mask, x,
                    dy, dx);
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
