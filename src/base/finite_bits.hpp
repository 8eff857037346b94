// SPDX-License-Identifier: Apache-2.0
// Whether floating-point numbers are finite, from their bits: an exponent of ones means infinity or
// NaN, whatever the compiler assumes of numbers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

namespace elastic {

/// Place of the first of `count` compact elements (of any alignment) in whose bits all of
/// `exponent` are set; nothing if there is none. Bits: unsigned, as wide as an element; exponents:
/// 0x7c00 of fp16, 0x7f80 of bf16, 0x7f800000 of fp32, 0x7ff0000000000000 of fp64.
template <class Bits>
std::optional<std::size_t> first_with_exponent(Bits exponent, const void* data, std::size_t count) {
  const auto* bytes = static_cast<const char*>(data);
  const auto is_set = [&](std::size_t i) {
    Bits bits;
    std::memcpy(&bits, bytes + i * sizeof bits, sizeof bits);
    return (bits & exponent) == exponent;
  };
  constexpr std::size_t piece = 4096;  // looked at as a whole first, which vectorises
  for (std::size_t begin = 0; begin < count; begin += piece) {
    const std::size_t end = std::min(begin + piece, count);
    Bits found = 0;
    for (std::size_t i = begin; i < end; ++i) found |= is_set(i) ? 1 : 0;
    if (found == 0) continue;
    for (std::size_t i = begin; i < end; ++i)
      if (is_set(i)) return i;
  }
  return std::nullopt;
}

}  // namespace elastic
