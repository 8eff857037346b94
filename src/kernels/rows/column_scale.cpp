// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/column_scale.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// to_j = mask_{j / block} from_j for columns [begin, end); to may be from.
template <class T>
KOKKOS_INLINE_FUNCTION void scale_piece(const T* from, const Accumulate<T>* mask, index_t block,
                                        index_t begin, index_t end, T* to) {
  if (block == 1) {
    ELASTIC_SIMD
    for (index_t j = begin; j < end; ++j) store_rounded(to[j], mask[j] * widen(from[j]));
    return;
  }
  for (index_t j = begin; j < end;) {
    const Accumulate<T> m = mask[j / block];
    const index_t stop = math::min(end, (j / block + 1) * block);
    ELASTIC_SIMD
    for (index_t c = j; c < stop; ++c) store_rounded(to[c], m * widen(from[c]));
    j = stop;
  }
}

/// sum_a += sum_c x_{a*block + c} dy_{a*block + c} for heads [begin, end).
template <class T>
KOKKOS_INLINE_FUNCTION void add_products(const T* x, const T* dy, index_t block, index_t begin,
                                         index_t end, Accumulate<T>* sum) {
  if (block == 1) {
    ELASTIC_SIMD
    for (index_t a = begin; a < end; ++a) sum[a] += widen(x[a]) * widen(dy[a]);
    return;
  }
  for (index_t a = begin; a < end; ++a) {
    const T *x_a = x + a * block, *dy_a = dy + a * block;
    sum[a] +=
        lane_sum<Accumulate<T>>(block, [=](index_t c) { return widen(x_a[c]) * widen(dy_a[c]); });
  }
}

}  // namespace

template <class T>
void column_scale_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          index_t block, InOut2<T> y) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("column_scale_forward", "x", x, tokens,
                static_cast<index_t>(mask.extent(0)) * block);
  require_shape("column_scale_forward", "y", y, tokens, width);
  for_row_pieces(
      exec, "elastic::column_scale_forward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        scale_piece(&x(t, 0), mask.data(), block, begin, end, &y(t, 0));
      });
}

template <class T>
void column_scale_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<Accumulate<T>> mask,
                           index_t block, InOut2<T> dx, InOut1<Accumulate<T>> dmask) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  const auto heads = static_cast<index_t>(mask.extent(0));
  require_shape("column_scale_backward", "x", x, tokens, heads * block);
  require_shape("column_scale_backward", "dy", dy, tokens, width);
  require_shape("column_scale_backward", "dx", dx, tokens, width);
  require_shape("column_scale_backward", "dmask", dmask, heads);
  for_column_pieces(
      exec, "elastic::column_scale_backward_mask", heads,  // first, because dx may overwrite dy
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        for (index_t t = 0; t < tokens; ++t)
          add_products(&x(t, 0), &dy(t, 0), block, begin, end, dmask.data());
      });
  for_row_pieces(
      exec, "elastic::column_scale_backward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        scale_piece(&dy(t, 0), mask.data(), block, begin, end, &dx(t, 0));
      });
}

#define ELASTIC_INSTANTIATE(T)                                                             \
  template void column_scale_forward<T>(const ExecutionSpace&, In2<T>, In1<Accumulate<T>>, \
                                        index_t, InOut2<T>);                               \
  template void column_scale_backward<T>(const ExecutionSpace&, In2<T>, In2<T>,            \
                                         In1<Accumulate<T>>, index_t, InOut2<T>,           \
                                         InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
