// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/logit_difference.hpp"

#include "kernels/rows/pack.hpp"

namespace elastic::kernels {
namespace {

constexpr int difference_threads = 4;  // of a device's team for one row

template <class T>
struct SquaredRows {
  using A = Accumulate<T>;
  View2<const T> a, b;
  View1<A> difference, norm;
  bool aligned;

  /// A host's row.
  KOKKOS_FUNCTION void operator()(const index_t t) const {
    A square = 0, size = 0;
    for (index_t v = 0; v < static_cast<index_t>(a.extent(1)); ++v) {
      const A x = widen(a(t, v)), d = x - widen(b(t, v));
      square += d * d;
      size += x * x;
    }
    difference(t) = square;
    norm(t) = size;
  }
  /// A device's team.
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank(), columns = static_cast<index_t>(a.extent(1));
    const T *const a_t = &a(t, 0), *const b_t = &b(t, 0);
    const A square = sum_row_packs<A>(team, columns, [&](index_t v, int count, A& sum) {
      const Pack<A> x = load_pack(a_t + v, count, aligned), y = load_pack(b_t + v, count, aligned);
      for (int i = 0; i < pack_size; ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
    });
    const A size = sum_row_packs<A>(team, columns, [&](index_t v, int count, A& sum) {
      const Pack<A> x = load_pack(a_t + v, count, aligned);
      for (int i = 0; i < pack_size; ++i) sum += x[i] * x[i];
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      difference(t) = square;
      norm(t) = size;
    });
  }
};

/// The larger of a distance and the largest so far. A NaN must not hide behind a comparison that is
/// false: neither a new nor an old one.
template <class A>
KOKKOS_INLINE_FUNCTION A larger(A largest, A distance) {
  return ((distance <= largest) | (largest != largest)) ? largest : distance;
}
template <class T>
struct LargestRows {
  using A = Accumulate<T>;
  View2<const T> a, b;
  View1<A> maximum;
  bool aligned;

  /// A host's row.
  KOKKOS_FUNCTION void operator()(const index_t t) const {
    A largest = 0;
    for (index_t v = 0; v < static_cast<index_t>(a.extent(1)); ++v)
      largest = larger(largest, math::abs(widen(a(t, v)) - widen(b(t, v))));
    maximum(t) = largest;
  }
  /// A device's team: maximum of the numbers, and whether there was a NaN.
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank(), columns = static_cast<index_t>(a.extent(1));
    const T *const a_t = &a(t, 0), *const b_t = &b(t, 0);
    A largest = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, columns),
        [&](const index_t v, A& best) {
          const A distance = math::abs(widen(a_t[v]) - widen(b_t[v]));
          best = best < distance ? distance : best;
        },
        Kokkos::Max<A>(largest));
    const A nans = sum_row_packs<A>(team, columns, [&](index_t v, int count, A& sum) {
      const Pack<A> x = load_pack(a_t + v, count, aligned), y = load_pack(b_t + v, count, aligned);
      for (int i = 0; i < pack_size; ++i) {
        const A d = x[i] - y[i];
        sum += d != d ? d : A(0);
      }
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      maximum(t) = nans != nans ? nans : columns == 0 ? A(0) : largest;
    });
  }
};

template <class Kernel>
void for_rows(const ExecutionSpace& exec, const char* label, index_t rows, const Kernel& kernel) {
  if constexpr (on_host)
    Kokkos::parallel_for(label, LinearPolicy(exec, 0, rows), kernel);
  else if (rows > 0)
    Kokkos::parallel_for(label, device_teams(exec, rows, difference_threads), kernel);
}

}  // namespace

template <class T>
void squared_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> difference, InOut1<Accumulate<T>> norm) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("squared_difference", "b", b, rows, columns);
  require_shape("squared_difference", "difference", difference, rows);
  require_shape("squared_difference", "norm", norm, rows);
  for_rows(exec, "elastic::squared_difference", rows,
           SquaredRows<T>{a, b, difference, norm, packs_are_aligned(a, b)});
}

template <class T>
void max_abs_difference(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                        InOut1<Accumulate<T>> maximum) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("max_abs_difference", "b", b, rows, columns);
  require_shape("max_abs_difference", "maximum", maximum, rows);
  for_rows(exec, "elastic::max_abs_difference", rows,
           LargestRows<T>{a, b, maximum, packs_are_aligned(a, b)});
}

#define ELASTIC_INSTANTIATE(T)                                                       \
  template void squared_difference<T>(const ExecutionSpace&, In2<T>, In2<T>,         \
                                      InOut1<Accumulate<T>>, InOut1<Accumulate<T>>); \
  template void max_abs_difference<T>(const ExecutionSpace&, In2<T>, In2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
