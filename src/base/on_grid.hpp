// SPDX-License-Identifier: Apache-2.0
// Sums that do not depend on the order of their terms, because every term is a multiple of one
// power of two. They serve reported numbers and choices; gradients are summed as integers
// (kernels/update/fixed_point.hpp).
#pragma once
#include <cmath>

namespace elastic {

/// The nearest multiple of 2^-bits. Sums of such numbers below 2^(52 - bits) are exact.
inline double on_grid(double x, int bits = 30) {
  return std::ldexp(std::nearbyint(std::ldexp(x, bits)), -bits);
}

}  // namespace elastic
