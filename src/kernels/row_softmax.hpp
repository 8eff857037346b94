// SPDX-License-Identifier: Apache-2.0
// Softmax of one row of logits, shared by the losses: one team per row, stripes of columns per
// thread, vectorised inside a stripe.
//
//   log p_v = (z_v - max) / tau - log_sum,      log_sum = log sum_v exp((z_v - max) / tau)
#pragma once
#include "kernels/vector_exp.hpp"

namespace elastic::kernels {

using RowTeam = Kokkos::TeamPolicy<ExecutionSpace>::member_type;

/// Columns that one thread treats at a time: one on a device, so that neighbours read neighbours.
constexpr index_t row_stripe = std::is_same_v<MemorySpace, HostSpace> ? 2048 : 1;

KOKKOS_INLINE_FUNCTION auto row_stripes(const RowTeam& team, index_t columns) {
  return Kokkos::TeamThreadRange(team, (columns + row_stripe - 1) / row_stripe);
}
/// Calls f(begin, end) for all stripes of [0, columns), in parallel over the team.
template <class F>
KOKKOS_INLINE_FUNCTION void for_stripes(const RowTeam& team, index_t columns, const F& f) {
  Kokkos::parallel_for(row_stripes(team, columns), [&](index_t stripe) {
    f(stripe * row_stripe, math::min(columns, (stripe + 1) * row_stripe));
  });
}
/// Sum of f(begin, end) over all stripes; every thread gets it.
template <class S, class F>
KOKKOS_INLINE_FUNCTION S sum_of_stripes(const RowTeam& team, index_t columns, const F& f) {
  S total = 0;
  Kokkos::parallel_reduce(
      row_stripes(team, columns),
      [&](index_t stripe, S& sum) {
        sum += f(stripe * row_stripe, math::min(columns, (stripe + 1) * row_stripe));
      },
      total);
  return total;
}
template <class S>
KOKKOS_INLINE_FUNCTION void zero_row(const RowTeam& team, S* z, index_t columns) {
  for_stripes(team, columns, [&](index_t begin, index_t end) {
    ELASTIC_SIMD
    for (index_t v = begin; v < end; ++v) z[v] = 0;
  });
}

/// Normalisation of one row. Maximum and log_sum are kept apart, so that large logits lose nothing.
template <class S>
struct RowSoftmax {
  S scale;  ///< 1 / tau
  S maximum, log_sum;

  KOKKOS_INLINE_FUNCTION RowSoftmax(const RowTeam& team, const S* z, index_t columns, S scale_)
      : scale(scale_), maximum(z[0]) {
    S high = z[0];
    Kokkos::parallel_reduce(
        row_stripes(team, columns),
        [&](index_t stripe, S& best) {
          const index_t end = math::min(columns, (stripe + 1) * row_stripe);
          S part = best;  // NaN is passed over here and shows up in log_sum
          ELASTIC_SIMD_MAX(part)
          for (index_t v = stripe * row_stripe; v < end; ++v) part = part < z[v] ? z[v] : part;
          best = part;
        },
        Kokkos::Max<S>(high));
    maximum = high;
    const S sum = sum_of_stripes<S>(team, columns, [&](index_t begin, index_t end) {
      S part = 0;
      ELASTIC_SIMD_SUM(part)
      for (index_t v = begin; v < end; ++v) part += vector_exp((z[v] - high) * scale_);
      return part;
    });
    log_sum = math::log(sum);
  }
  KOKKOS_INLINE_FUNCTION S log_probability(S z) const { return (z - maximum) * scale - log_sum; }
};

}  // namespace elastic::kernels
