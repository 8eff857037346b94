// SPDX-License-Identifier: Apache-2.0
// exp() that vectorises on the host: libm's is a scalar call inside loops,
// 12 times slower on an AVX-512 core.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/types.hpp"

namespace elastic::kernels {

/// exp(x). In double, and in float on devices, it is the library's. In float on the host:
///
///   exp(x) = 2^n exp(r),  |r| <= ln(2)/2,  Taylor polynomial of degree 7
///
/// Relative error below 1.5e-7 on [-87.3, 88.3]; x is clamped to that interval, so that the result
/// is never 0 or inf; exp(0) = 1, NaN stays NaN.
template <class T>
KOKKOS_INLINE_FUNCTION T vector_exp(T x) {
  return math::exp(x);
}
#if !defined(__CUDA_ARCH__) && !defined(__HIP_DEVICE_COMPILE__) && !defined(__SYCL_DEVICE_ONLY__)
/// exp(x) for -87.3 <= x <= 88.3; NaN stays NaN.
inline float exp_inside(float x) {
  const float shifted =
      x * 1.44269504088896341f + 12582912.0f;  // the low bits now hold n = round(x / ln 2)
  const float n = shifted - 12582912.0f;
  const float r =
      (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first with few bits
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const auto power = (std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u;  // 2^n
  return p * std::bit_cast<float>(power);
}
template <>
KOKKOS_INLINE_FUNCTION float vector_exp<float>(float x) {
  // Integer minima instead of comparisons of floats:
  // the compiler turns those into branches that forbid vectorising.
  const auto given = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t above = std::min(given, 0xc2ae999au);                            // x >= -87.3
  const std::int32_t inside = std::min(static_cast<std::int32_t>(above), 0x42b0999a);  // x <= 88.3
  const std::uint32_t nan = 0u - static_cast<std::uint32_t>((given & 0x7fffffffu) > 0x7f800000u);
  const float result = exp_inside(std::bit_cast<float>(inside));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(result) | nan);
}
#endif

/// 1 / (1 + exp(-x)).
template <class T>
KOKKOS_INLINE_FUNCTION T vector_sigmoid(T x) {
  return T(1) / (T(1) + vector_exp(-x));
}

}  // namespace elastic::kernels
