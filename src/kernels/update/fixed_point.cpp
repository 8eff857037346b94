// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/fixed_point.hpp"

#include <cmath>
#include <limits>

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr double unit = 0x1p-40;
static_assert(unit * (index_t(1) << fixed_point_bits) == 1);

KOKKOS_INLINE_FUNCTION index_t rounded(double x) {
  return static_cast<index_t>(x < 0 ? x - 0.5 : x + 0.5);
}

}  // namespace

template <class T>
void accumulate_fixed_point(const ExecutionSpace& exec, InOut1<T> x, double limit,
                            InOut1<index_t> sum, InOut1<index_t> overflow) {
  const auto n = static_cast<index_t>(x.extent(0));
  require_shape("accumulate_fixed_point", "sum", sum, n);
  require_shape("accumulate_fixed_point", "overflow", overflow, 1);
  ELASTIC_REQUIRE(limit > 0 && limit <= fixed_point_limit(1), "limit is {}", limit);
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  const double largest = limit / unit;  // at most 2^62: two such numbers do not overflow
  const auto largest_sum = static_cast<index_t>(largest);
  for_column_pieces(
      exec, "elastic::accumulate_fixed_point", n,
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        T* x_ = x.data();
        index_t* sum_ = sum.data();
        index_t refused = 0;
        ELASTIC_SIMD_SUM(refused)
        for (index_t i = begin; i < end; ++i) {
          const double units = static_cast<double>(x_[i]) / unit;
          const bool small = units < largest && units > -largest;  // false for NaN
          const index_t next = sum_[i] + rounded(small ? units : 0.0);
          const bool fits = small && next < largest_sum && next > -largest_sum;
          sum_[i] = fits ? next : sum_[i];
          x_[i] = fits ? T(0) : nan;
          refused += fits ? 0 : 1;
        }
        if (refused > 0) overflow(0) = 1;  // everybody writes the same
      });
}

template <class T>
void add_fixed_point(const ExecutionSpace& exec, In1<index_t> sum, InOut1<T> x) {
  const auto n = static_cast<index_t>(sum.extent(0));
  require_shape("add_fixed_point", "x", x, n);
  for_column_pieces(
      exec, "elastic::add_fixed_point", n, KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        const index_t* sum_ = sum.data();
        T* x_ = x.data();
        ELASTIC_SIMD
        for (index_t i = begin; i < end; ++i)
          x_[i] += static_cast<T>(static_cast<double>(sum_[i]) * unit);
      });
}

void FixedPointSum::add(double x) {
  constexpr double largest = 0x1p58;
  const double term = x * 0x1p30;
  if (!(std::abs(term) < largest)) {
    ++invalid;
    return;
  }
  const index_t next = units + std::llrint(term);
  if (std::abs(static_cast<double>(next)) < largest)
    units = next;
  else
    ++invalid;
}

double FixedPointSum::value() const {
  if (invalid > 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(units) * 0x1p-30;
}

#define ELASTIC_INSTANTIATE(T)                                                      \
  template void accumulate_fixed_point<T>(const ExecutionSpace&, InOut1<T>, double, \
                                          InOut1<index_t>, InOut1<index_t>);        \
  template void add_fixed_point<T>(const ExecutionSpace&, In1<index_t>, InOut1<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
