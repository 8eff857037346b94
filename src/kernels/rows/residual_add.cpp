// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/residual_add.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// dmask_j += gamma sum_t dh y: pieces of columns walk all tokens in order.
template <class T, class Y>
void add_mask_gradient(const ExecutionSpace& exec, const View2<const T>& dh,
                       const View2<const Y>& y, Accumulate<T> gamma,
                       const View1<Accumulate<T>>& dmask) {
  const auto tokens = static_cast<index_t>(y.extent(0));
  for_column_pieces(
      exec, "elastic::residual_add_backward_mask", static_cast<index_t>(dmask.extent(0)),
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        Accumulate<T>* sum = dmask.data();
        for (index_t t = 0; t < tokens; ++t) {
          const T* dh_t = &dh(t, 0);
          const Y* y_t = &y(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) sum[j] += gamma * widen(dh_t[j]) * widen(y_t[j]);
        }
      });
}

/// sum_j dh_j (m_j y_j) of row t.
template <class T, class Y>
struct RowDot {
  View2<const T> dh;
  View2<const Y> y;
  View1<const Accumulate<T>> mask;

  KOKKOS_INLINE_FUNCTION Accumulate<T> operator()(index_t t) const {
    const auto width = static_cast<index_t>(y.extent(1));
    const T* dh_t = &dh(t, 0);
    const Y* y_t = &y(t, 0);
    Accumulate<T> sum = 0;
    with_mask<Accumulate<T>>(mask, [&](const auto& m) {
      sum = lane_sum<Accumulate<T>>(
          width, [=](index_t j) { return widen(dh_t[j]) * (m(j) * widen(y_t[j])); });
    });
    return sum;
  }
};
/// total += sum_t term(t) for t < count, added by one team.
template <class A, class F>
void add_up(const ExecutionSpace& exec, index_t count, const F& term, const View1<A>& total) {
  using Policy = Kokkos::TeamPolicy<ExecutionSpace>;
  Kokkos::parallel_for(
      "elastic::residual_add_backward_gate", Policy(exec, 1, Kokkos::AUTO),
      KOKKOS_LAMBDA(const typename Policy::member_type& team) {
        A added = 0;
        Kokkos::parallel_reduce(
            Kokkos::TeamThreadRange(team, count), [&](const index_t t, A& sum) { sum += term(t); },
            added);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { total(0) += added; });
      });
}
/// dgamma += sum dh (m (.) y). The sums of single rows pass through the first column of `scratch`,
/// if that can hold them.
template <class T, class Y>
void add_gate_gradient(const ExecutionSpace& exec, const RowDot<T, Y>& dot, const View2<T>& scratch,
                       const View1<Accumulate<T>>& dgamma) {
  const auto tokens = static_cast<index_t>(scratch.extent(0));
  if constexpr (std::is_same_v<T, Accumulate<T>>) {
    Kokkos::parallel_for(
        "elastic::residual_add_backward_rows", LinearPolicy(exec, 0, tokens),
        KOKKOS_LAMBDA(const index_t t) { scratch(t, 0) = dot(t); });
    add_up(
        exec, tokens, KOKKOS_LAMBDA(const index_t t) { return scratch(t, 0); }, dgamma);
  } else {
    add_up(exec, tokens, dot, dgamma);
  }
}

}  // namespace

template <class T, class Y>
void residual_add_forward(const ExecutionSpace& exec, In2<Y> y, In1<Accumulate<T>> mask,
                          Accumulate<T> gamma, InOut2<T> h) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  require_shape_or_empty("residual_add_forward", "mask", mask, width);
  require_shape("residual_add_forward", "h", h, tokens, width);
  for_row_pieces(
      exec, "elastic::residual_add_forward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<Accumulate<T>>(mask, [&](const auto& m) {
          const Y* y_t = &y(t, 0);
          T* h_t = &h(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j)
            store_rounded(h_t[j], widen(h_t[j]) + gamma * m(j) * widen(y_t[j]));
        });
      });
}

template <class T, class Y>
void residual_add_backward(const ExecutionSpace& exec, In2<T> dh, In2<Y> y, In1<Accumulate<T>> mask,
                           Accumulate<T> gamma, InOut2<T> dy, InOut1<Accumulate<T>> dmask,
                           InOut1<Accumulate<T>> dgamma) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  require_shape("residual_add_backward", "dh", dh, tokens, width);
  require_shape_or_empty("residual_add_backward", "mask", mask, width);
  require_shape("residual_add_backward", "dy", dy, tokens, width);
  require_shape_or_empty("residual_add_backward", "dmask", dmask, width);
  require_shape_or_empty("residual_add_backward", "dgamma", dgamma, 1);
  add_mask_gradient<T, Y>(exec, dh, y, gamma, dmask);  // dy comes last, because it may overwrite y
  if (dgamma.extent(0) != 0 && tokens * width > 0)
    add_gate_gradient<T, Y>(exec, {dh, y, mask}, dy, dgamma);
  for_row_pieces(
      exec, "elastic::residual_add_backward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<Accumulate<T>>(mask, [&](const auto& m) {
          const T* dh_t = &dh(t, 0);
          T* dy_t = &dy(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j)
            store_rounded(dy_t[j], gamma * m(j) * widen(dh_t[j]));
        });
      });
}

#define ELASTIC_INSTANTIATE(T, Y)                                                             \
  template void residual_add_forward<T, Y>(const ExecutionSpace&, In2<Y>, In1<Accumulate<T>>, \
                                           Accumulate<T>, InOut2<T>);                         \
  template void residual_add_backward<T, Y>(const ExecutionSpace&, In2<T>, In2<Y>,            \
                                            In1<Accumulate<T>>, Accumulate<T>, InOut2<T>,     \
                                            InOut1<Accumulate<T>>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
