// SPDX-License-Identifier: Apache-2.0
// A stored number of 16 bits: sign, 8 bits of exponent as in fp32, 7 bits of fraction. It has no
// arithmetic on purpose: kernels widen values to Accumulate<bfloat16> = float, compute there, and
// round back once (base/types.hpp). Subnormal numbers are kept, as fp32 keeps them.
#pragma once
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/kokkos_compat.hpp"

namespace elastic {

/// Nearest bfloat16, ties to even; infinity beyond the range; a NaN stays a NaN.
KOKKOS_INLINE_FUNCTION std::uint16_t bfloat16_bits(float x) {
  const auto bits = math::bit_cast<std::uint32_t>(x);
  const std::uint32_t nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : nearest);
}
/// The value of a bfloat16, exact.
KOKKOS_INLINE_FUNCTION float float_from_bfloat16(std::uint16_t bits) {
  return math::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Zero-initialised memory is 0.0; trivial, so Views and messages copy it as bytes.
class bfloat16 {
 public:
  bfloat16() = default;
  /// Rounds to nearest, ties to even. From double: by way of float.
  template <class U>
  requires std::is_arithmetic_v<U> KOKKOS_INLINE_FUNCTION explicit bfloat16(U x)
      : m_bits(bfloat16_bits(static_cast<float>(x))) {}
  template <class U>
  requires std::is_arithmetic_v<U> KOKKOS_INLINE_FUNCTION explicit operator U() const {
    return static_cast<U>(float_from_bfloat16(m_bits));
  }
  static bfloat16 from_bits(std::uint16_t bits) {
    bfloat16 x;
    x.m_bits = bits;
    return x;
  }
  std::uint16_t bits() const { return m_bits; }
  /// As numbers: 0 == -0, a NaN equals nothing.
  KOKKOS_INLINE_FUNCTION friend bool operator==(bfloat16 a, bfloat16 b) {
    return float_from_bfloat16(a.m_bits) == float_from_bfloat16(b.m_bits);
  }

 private:
  std::uint16_t m_bits;
};
static_assert(sizeof(bfloat16) == 2 && std::is_trivial_v<bfloat16>);

}  // namespace elastic

/// Only what tests and checks ask for.
template <>
class std::numeric_limits<elastic::bfloat16> {
 public:
  static constexpr bool is_specialized = true;
  static constexpr int digits = 8;
  static constexpr float epsilon() { return 0x1p-7f; }
};
