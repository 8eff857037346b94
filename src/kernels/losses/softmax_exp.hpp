// SPDX-License-Identifier: Apache-2.0
// exp() of what a softmax forms it of: differences to a maximum. On a host in fp32 it has the bits
// of vector_exp with fewer instructions; for bfloat16 logits, which know their numbers to 2^-9 of
// themselves, it is a shorter polynomial, half as many instructions.
#pragma once
#include "kernels/backend.hpp"
#include "kernels/rows/vector_exp.hpp"

namespace elastic::kernels {

/// exp(x) for x <= 88 of logits of type T; x below -87.3 counts as -87.3, NaN stays NaN,
/// exp(0) = 1.
/// T = bfloat16 on a host: 2^n 2^f, |f| <= 1/2, a polynomial of degree 4 that is 1 at 0 and whose
/// largest relative error is least; it is below 7e-6.
template <class T>
KOKKOS_INLINE_FUNCTION Accumulate<T> softmax_exp(Accumulate<T> x) {
#if !defined(__CUDA_ARCH__) && !defined(__HIP_DEVICE_COMPILE__) && !defined(__SYCL_DEVICE_ONLY__)
  if constexpr (on_host && std::is_same_v<Accumulate<T>, float>) x = x < -87.3f ? -87.3f : x;
  if constexpr (on_host && std::is_same_v<T, float>) return exp_inside(x);
  if constexpr (on_host && std::is_same_v<T, bfloat16>) {
    const float shifted =
        x * 1.44269504088896341f + 12582912.0f;  // the low bits now hold n = round(x / ln 2)
    const float f = x * 1.44269504088896341f - (shifted - 12582912.0f);
    float p = 9.5828489e-3f;
    p = p * f + 5.5906431e-2f;
    p = p * f + 0.24024099f;
    p = p * f + 0.69312419f;
    p = p * f + 1.0f;
    const auto power = (std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u;  // 2^n
    return p * std::bit_cast<float>(power);
  }
#endif
  return vector_exp(x);
}

}  // namespace elastic::kernels
