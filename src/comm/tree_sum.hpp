// SPDX-License-Identifier: Apache-2.0
// The order of additions of deterministic sums: a fixed tree over terms x_0, x_1, ...
//
//   for d = p/2, p/4, ..., 1 (p: the next power of two):   x_j += x_{j+d} for all j < d
//
// where absent partners are skipped. If class c of the terms belongs to rank c mod ranks, a rank
// adds its own classes in this order and the ranks add theirs in this order. The sum then has
// the same bits for 1, 2, 4, ... ranks.
#pragma once
#include "base/types.hpp"

namespace elastic {

/// terms[i] = sum over k < num_terms of terms[k * stride + i], for i < count. The other terms are
/// overwritten. Memory must be visible to Exec.
template <class T, class Exec>
void tree_sum(const Exec& exec, T* terms, int num_terms, index_t stride, index_t count) {
  constexpr index_t length = std::is_same_v<Exec, Kokkos::DefaultHostExecutionSpace> ? 1024 : 1;
  int first_distance = 1;
  while (2 * first_distance < num_terms) first_distance *= 2;
  Kokkos::parallel_for(
      "elastic::tree_sum",
      Kokkos::RangePolicy<Exec, Kokkos::IndexType<index_t>>(exec, 0, (count + length - 1) / length),
      KOKKOS_LAMBDA(const index_t piece) {
        const index_t begin = piece * length, end = math::min(count, begin + length);
        for (int distance = first_distance; distance >= 1; distance /= 2)
          for (int j = 0; j < distance && j + distance < num_terms; ++j) {
            T* sum = terms + j * stride;
            const T* partner = terms + (j + distance) * stride;
            ELASTIC_SIMD
            for (index_t i = begin; i < end; ++i) sum[i] += partner[i];
          }
      });
}

}  // namespace elastic
