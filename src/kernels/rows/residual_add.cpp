// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/residual_add.hpp"

#include "kernels/rows/column_sums.hpp"
#include "kernels/rows/row_map.hpp"

namespace elastic::kernels {
namespace {

/// The residual stream with the output added.
template <class A>
struct Joined {
  A gamma;
  KOKKOS_INLINE_FUNCTION A operator()(A m, A h, A y) const { return h + gamma * m * y; }
};
/// The gradient by the output.
template <class A>
struct OutputGradient {
  A gamma;
  KOKKOS_INLINE_FUNCTION A operator()(A m, A dh) const { return gamma * m * dh; }
};

/// dmask_j += gamma sum_t dh y: on a host, pieces of columns walk all tokens in order.
template <class T, class Y>
struct MaskGradient {
  using A = Accumulate<T>;
  View2<const T> dh;
  View2<const Y> y;
  A gamma;
  View1<A> dmask;
  bool aligned;

  KOKKOS_INLINE_FUNCTION static A term(A gamma_, A dh_, A y_) { return gamma_ * dh_ * y_; }
  KOKKOS_FUNCTION void operator()(const index_t begin, const index_t end) const {
    const auto tokens = static_cast<index_t>(y.extent(0));
    const A factor = gamma;
    A* sum = dmask.data();
    for (index_t t = 0; t < tokens; ++t) {
      const T* dh_t = &dh(t, 0);
      const Y* y_t = &y(t, 0);
      ELASTIC_SIMD
      for (index_t j = begin; j < end; ++j) sum[j] += term(factor, widen(dh_t[j]), widen(y_t[j]));
    }
  }
  /// A device's pack of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count,
                                  Pack<A>& sum) const {
    const Pack<A> dh_t = load_pack(&dh(t, j), count, aligned),
                  y_t = load_pack(&y(t, j), count, aligned);
    for (int i = 0; i < pack_size; ++i) sum[i] += term(gamma, dh_t[i], y_t[i]);
  }
};

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
/// Where these sums wait to be added up: the first values of a row of T, one, or two that have the
/// bits of a float.
template <class T>
struct KeptSums {
  using A = Accumulate<T>;
  static constexpr index_t values = sizeof(A) / sizeof(T);
  View2<T> rows;

  KOKKOS_INLINE_FUNCTION void keep(index_t t, A sum) const {
    T* const row = &rows(t, 0);
    if constexpr (values == 1) {
      row[0] = sum;
    } else {
      const auto bits = math::bit_cast<std::uint32_t>(sum);
      auto* half = reinterpret_cast<std::uint16_t*>(row);
      half[0] = static_cast<std::uint16_t>(bits >> 16);
      half[1] = static_cast<std::uint16_t>(bits);
    }
  }
  KOKKOS_INLINE_FUNCTION A operator()(index_t t) const {
    if constexpr (values == 1) {
      return rows(t, 0);
    } else {
      const auto* half = reinterpret_cast<const std::uint16_t*>(&rows(t, 0));
      return math::bit_cast<A>(static_cast<std::uint32_t>(half[0]) << 16 | half[1]);
    }
  }
};
/// The sums of rows on a host.
template <class T, class Y>
struct RowDots {
  RowDot<T, Y> dot;
  KeptSums<T> kept;
  KOKKOS_FUNCTION void operator()(const index_t t) const { kept.keep(t, dot(t)); }
};
/// These sums on a device, a team per row.
template <class T, class Y>
struct RowDotTeams {
  using A = Accumulate<T>;
  static constexpr int threads = 4;
  RowDot<T, Y> dot;
  KeptSums<T> kept;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank();
    const T* const dh = &dot.dh(t, 0);
    const Y* const y = &dot.y(t, 0);
    const A total = sum_row_packs<A>(team, static_cast<index_t>(dot.y.extent(1)),
                                     [&](index_t j, int count, A& sum) {
                                       const Pack<A> dh_t = load_pack(dh + j, count, aligned),
                                                     y_t = load_pack(y + j, count, aligned),
                                                     m = load_mask(dot.mask, j, count, aligned);
                                       for (int i = 0; i < pack_size; ++i)
                                         sum += dh_t[i] * (m[i] * y_t[i]);
                                     });
    Kokkos::single(Kokkos::PerTeam(team), [&]() { kept.keep(t, total); });
  }
};
/// The sum of a row of one value.
template <class T, class Y>
struct OneProduct {
  RowDot<T, Y> dot;
  KOKKOS_INLINE_FUNCTION Accumulate<T> operator()(index_t t) const {
    const Accumulate<T> m = dot.mask.extent(0) == 0 ? Accumulate<T>(1) : dot.mask(0);
    return widen(dot.dh(t, 0)) * (m * widen(dot.y(t, 0)));
  }
};
/// total += sum_t term(t) for t < count, added by one team.
template <class A, class F>
struct AddUp {
  index_t count;
  F term;
  View1<A> total;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    A added = 0;
    const auto add = [&](const index_t t, A& sum) { sum += term(t); };
    if constexpr (on_host)
      Kokkos::parallel_reduce(Kokkos::TeamThreadRange(team, count), add, added);
    else
      Kokkos::parallel_reduce(Kokkos::TeamVectorRange(team, count), add, added);
    Kokkos::single(Kokkos::PerTeam(team), [&]() { total(0) += added; });
  }
};
template <class A, class F>
void add_up(const ExecutionSpace& exec, index_t count, const F& term, const View1<A>& total) {
  Kokkos::parallel_for("elastic::residual_add_backward_gate",
                       on_host ? TeamPolicy(exec, 1, Kokkos::AUTO) : device_teams(exec, 1, 32),
                       AddUp<A, F>{count, term, total});
}
/// dgamma += sum dh (m (.) y). The sums of single rows pass through the first values of `scratch`,
/// if those can hold them.
template <class T, class Y>
void add_gate_gradient(const ExecutionSpace& exec, const RowDot<T, Y>& dot, const View2<T>& scratch,
                       const View1<Accumulate<T>>& dgamma) {
  using A = Accumulate<T>;
  const char* label = "elastic::residual_add_backward_rows";
  const auto tokens = static_cast<index_t>(scratch.extent(0));
  const KeptSums<T> kept{scratch};
  if (static_cast<index_t>(scratch.extent(1)) < kept.values)
    return add_up<A>(exec, tokens, OneProduct<T, Y>{dot}, dgamma);
  if constexpr (on_host) {
    Kokkos::parallel_for(label, LinearPolicy(exec, 0, tokens), RowDots<T, Y>{dot, kept});
  } else {
    const RowDotTeams<T, Y> rows{dot, kept, packs_are_aligned(dot.dh, dot.y, dot.mask)};
    Kokkos::parallel_for(label, device_teams(exec, tokens, rows.threads), rows);
  }
  add_up<A>(exec, tokens, kept, dgamma);
}

}  // namespace

template <class T, class Y>
void residual_add_forward(const ExecutionSpace& exec, In2<T> h, In2<Y> y, In1<Accumulate<T>> mask,
                          Accumulate<T> gamma, InOut2<T> joined) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  require_shape_or_empty("residual_add_forward", "mask", mask, width);
  require_shape("residual_add_forward", "h", h, tokens, width);
  require_shape("residual_add_forward", "joined", joined, tokens, width);
  map_rows<T, T, Y>(exec, "elastic::residual_add_forward", Joined<Accumulate<T>>{gamma}, mask, h, y,
                    joined);
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
  // dy comes last, because it may overwrite y.
  sum_columns<Accumulate<T>>(exec, "elastic::residual_add_backward_mask", tokens,
                             MaskGradient<T, Y>{dh, y, gamma, dmask, packs_are_aligned(dh, y)},
                             dmask);
  if (dgamma.extent(0) != 0 && tokens * width > 0)
    add_gate_gradient<T, Y>(exec, {dh, y, mask}, dy, dgamma);
  map_rows<T, T>(exec, "elastic::residual_add_backward", OutputGradient<Accumulate<T>>{gamma}, mask,
                 dh, dy);
}

#define ELASTIC_INSTANTIATE(T, Y)                                                         \
  template void residual_add_forward<T, Y>(const ExecutionSpace&, In2<T>, In2<Y>,         \
                                           In1<Accumulate<T>>, Accumulate<T>, InOut2<T>); \
  template void residual_add_backward<T, Y>(const ExecutionSpace&, In2<T>, In2<Y>,        \
                                            In1<Accumulate<T>>, Accumulate<T>, InOut2<T>, \
                                            InOut1<Accumulate<T>>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
