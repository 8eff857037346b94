// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/column_scale.hpp"

#include "kernels/rows/column_sums.hpp"

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

/// to = mask (.) from, by rows.
template <class T>
struct ScaledRows {
  View2<const T> from;
  View1<const Accumulate<T>> mask;
  index_t block;
  View2<T> to;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const index_t t, const index_t begin, const index_t end) const {
    scale_piece(&from(t, 0), mask.data(), block, begin, end, &to(t, 0));
  }
  /// A device's pack of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count) const {
    auto pack = load_pack(&from(t, j), count, aligned);
    for (int i = 0; i < pack_size; ++i)
      if (i < count) pack[i] *= mask((j + i) / block);
    store_pack(&to(t, j), pack, count, aligned);
  }
};
template <class T>
void scale_rows(const ExecutionSpace& exec, const char* label, const ScaledRows<T>& rows) {
  const auto count = static_cast<index_t>(rows.to.extent(0)),
             width = static_cast<index_t>(rows.to.extent(1));
  if constexpr (on_host)
    for_row_pieces(exec, label, count, width, rows);
  else
    for_packs(exec, label, count, width, rows);
}

/// dmask_a += sum_{t,c} x dy: on a host, pieces of heads walk all tokens in order.
template <class T>
struct MaskGradient {
  using A = Accumulate<T>;
  View2<const T> x, dy;
  index_t block;
  View1<A> dmask;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const index_t begin, const index_t end) const {
    const auto tokens = static_cast<index_t>(x.extent(0));
    for (index_t t = 0; t < tokens; ++t)
      add_products(&x(t, 0), &dy(t, 0), block, begin, end, dmask.data());
  }
  /// A device's pack of row t, where every column has its own factor.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count,
                                  Pack<A>& sum) const {
    const Pack<A> x_t = load_pack(&x(t, j), count, aligned),
                  dy_t = load_pack(&dy(t, j), count, aligned);
    for (int i = 0; i < pack_size; ++i) sum[i] += x_t[i] * dy_t[i];
  }
  /// A device's team for one head: its lanes take the packs of all rows in turn.
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t head = team.league_rank(), packs = num_packs(block);
    A total = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, static_cast<index_t>(x.extent(0)) * packs),
        [&](const index_t i, A& sum) {
          const index_t t = i / packs, c = i % packs * pack_size;
          Pack<A> products = {};
          (*this)(t, head * block + c, static_cast<int>(math::min<index_t>(pack_size, block - c)),
                  products);
          for (int k = 0; k < pack_size; ++k) sum += products[k];
        },
        total);
    Kokkos::single(Kokkos::PerTeam(team), [&]() { dmask(head) += total; });
  }
};

}  // namespace

template <class T>
void column_scale_forward(const ExecutionSpace& exec, In2<T> x, In1<Accumulate<T>> mask,
                          index_t block, InOut2<T> y) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("column_scale_forward", "x", x, tokens,
                static_cast<index_t>(mask.extent(0)) * block);
  require_shape("column_scale_forward", "y", y, tokens, width);
  scale_rows<T>(exec, "elastic::column_scale_forward",
                {x, mask, block, y, packs_are_aligned(x, y)});
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
  // The mask first, because dx may overwrite dy.
  const char* label = "elastic::column_scale_backward_mask";
  const MaskGradient<T> gradient{x, dy, block, dmask,
                                 packs_are_aligned(x, dy) && (block == 1 || block % 8 == 0)};
  if (on_host || block == 1)
    sum_columns<Accumulate<T>>(exec, label, tokens, gradient, dmask);
  else if (heads > 0)
    Kokkos::parallel_for(label, device_teams(exec, heads, 16), gradient);
  scale_rows<T>(exec, "elastic::column_scale_backward",
                {dy, mask, block, dx, packs_are_aligned(dy, dx)});
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
