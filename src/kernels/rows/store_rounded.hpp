// SPDX-License-Identifier: Apache-2.0
// How kernels store a value.
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/types.hpp"

namespace elastic::kernels {

/// to = sum, rounded to nearest where T is narrower. In a loop that shall be vectorised this stands
/// for `to = static_cast<T>(sum)`: GCC gives up where an object of a class is assigned, and does
/// vectorise the write of its bits. These are the bits of bfloat16_bits, whose two results of 16
/// bits cost a vector loop more than its one choice between two of 32.
template <class T>
KOKKOS_INLINE_FUNCTION void store_rounded(T& to, Accumulate<T> sum) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    static_assert(std::is_standard_layout_v<bfloat16>);  // its bits are its first member
    const auto bits = math::bit_cast<std::uint32_t>(sum);
    const std::uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
    *reinterpret_cast<std::uint16_t*>(&to) =
        static_cast<std::uint16_t>((sum == sum ? nearest : quiet) >> 16);
  } else {
    to = sum;
  }
}

}  // namespace elastic::kernels
