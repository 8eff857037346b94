// SPDX-License-Identifier: Apache-2.0
// How kernels store a value.
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/types.hpp"

namespace elastic::kernels {

/// to = sum, rounded to nearest where T is narrower. In a loop that shall be vectorised this stands
/// for `to = static_cast<T>(sum)`: GCC gives up where an object of a class is assigned, and does
/// vectorise the write of its bits.
template <class T>
KOKKOS_INLINE_FUNCTION void store_rounded(T& to, Accumulate<T> sum) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    static_assert(std::is_standard_layout_v<bfloat16>);  // its bits are its first member
    *reinterpret_cast<std::uint16_t*>(&to) = bfloat16_bits(sum);
  } else {
    to = sum;
  }
}

}  // namespace elastic::kernels
