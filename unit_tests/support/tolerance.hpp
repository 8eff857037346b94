// SPDX-License-Identifier: Apache-2.0
// The only source of tolerances in tests.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/types.hpp"

namespace elastic::test {

/// Error allowed for a result of magnitude one that sums `reduction_length` terms in the arithmetic
/// of T, which is that of Accumulate<T>. Rounding errors of a sum grow like sqrt(n) eps; the factor
/// 8 and the floor of 16 terms cover the few roundings before and after it.
template <class T>
double tolerance(index_t reduction_length) {
  const double terms = static_cast<double>(std::max<index_t>(reduction_length, 16));
  return 8 * static_cast<double>(std::numeric_limits<Accumulate<T>>::epsilon()) * std::sqrt(terms);
}

/// Relative error of storing a sum as T: half an ulp where T is narrower than its sums, else
/// nothing (tolerance() covers it).
template <class T>
double storage_rounding() {
  return std::is_same_v<T, Accumulate<T>>
             ? 0
             : static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
}
/// Like tolerance(), for results that pass through `roundings` stored values of T one after the
/// other. near() allows for the last one by itself.
template <class T>
double stored_tolerance(index_t reduction_length, int roundings = 1) {
  return tolerance<T>(reduction_length) + roundings * storage_rounding<T>();
}

}  // namespace elastic::test
