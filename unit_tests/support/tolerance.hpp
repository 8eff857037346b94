// SPDX-License-Identifier: Apache-2.0
// The only source of tolerances in tests.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/types.hpp"

namespace elastic::test {

/// Error allowed for a result of magnitude one that sums `reduction_length` terms in arithmetic
/// of type T. Rounding errors of a sum grow like sqrt(n) eps; the factor 8 and the floor of 16
/// terms cover the few roundings before and after it.
template <class T>
double tolerance(index_t reduction_length) {
  const double terms = static_cast<double>(std::max<index_t>(reduction_length, 16));
  return 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * std::sqrt(terms);
}

}  // namespace elastic::test
