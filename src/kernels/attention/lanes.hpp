// SPDX-License-Identifier: Apache-2.0
// Sixteen numbers at a time, for loops of bfloat16 attention on a host. These are vectors of the
// compiler (GCC, Clang), since GCC cuts loops into vectors of half that width on processors whose
// full width it takes for slow. Internal to kernels/attention.
#pragma once
#include <bit>
#include <cstdint>

#include "kernels/attention/attention_tiles.hpp"

namespace elastic::kernels {

using FloatLanes [[gnu::vector_size(64)]] = float;
using IntLanes [[gnu::vector_size(64)]] = std::int32_t;
using WordLanes [[gnu::vector_size(64)]] = std::uint32_t;
using ShortLanes [[gnu::vector_size(32)]] = std::uint16_t;
static_assert(lanes == 16 && sizeof(token_t) == sizeof(std::int32_t));

/// Lanes in memory, where nothing is known of alignment.
using FloatsInMemory [[gnu::vector_size(64), gnu::aligned(4), gnu::may_alias]] = float;
using IntsInMemory [[gnu::vector_size(64), gnu::aligned(4), gnu::may_alias]] = std::int32_t;
using WordsInMemory [[gnu::vector_size(64), gnu::aligned(2), gnu::may_alias]] = std::uint32_t;
using ShortsInMemory [[gnu::vector_size(32), gnu::aligned(2), gnu::may_alias]] = std::uint16_t;

inline constexpr float log2_e = 1.44269504f;  ///< exp(x) = 2^(log2_e x)

#define ELASTIC_LANES [[gnu::always_inline]] inline

ELASTIC_LANES FloatLanes load_lanes(const float* from) {
  return *reinterpret_cast<const FloatsInMemory*>(from);
}
ELASTIC_LANES IntLanes load_lanes(const token_t* from) {
  return *reinterpret_cast<const IntsInMemory*>(from);
}
ELASTIC_LANES void store_lanes(float* to, FloatLanes x) {
  *reinterpret_cast<FloatsInMemory*>(to) = x;
}
ELASTIC_LANES FloatLanes all_lanes(float x) { return FloatLanes{} + x; }
ELASTIC_LANES IntLanes lane_numbers() {
  return IntLanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

/// Pairs of bfloat16 for the second operand of a product: the nearest to `low` (of an even row) in
/// the low halves of words, the nearest to `high` (of the next row) in the high halves. Ties go
/// away from zero, which saves a third of the operations of ties to even.
ELASTIC_LANES WordLanes round_to_pairs(FloatLanes low, FloatLanes high) {
  constexpr std::uint32_t half = 0x8000u;
  const WordLanes a = std::bit_cast<WordLanes>(low) + half,
                  b = std::bit_cast<WordLanes>(high) + half;
  return (a >> 16) | (b & 0xffff0000u);
}
ELASTIC_LANES void store_pairs(bfloat16* to, WordLanes pairs) {
  *reinterpret_cast<WordsInMemory*>(to) = pairs;
}
/// The two rows of which pairs consist, each by itself.
ELASTIC_LANES void store_rows_of_pairs(bfloat16* low, bfloat16* high, WordLanes pairs) {
  *reinterpret_cast<ShortsInMemory*>(low) = __builtin_convertvector(pairs, ShortLanes);
  *reinterpret_cast<ShortsInMemory*>(high) = __builtin_convertvector(pairs >> 16, ShortLanes);
}

/// Probabilities: 2^t for t below 127, zero where 2^t < exp(smallest_score); NaN stays NaN;
/// 2^0 = 1.
///
///   2^t = 2^n 2^r,  |r| <= 1/2,  minimax polynomial of degree 4, relative error below 4e-6,
///
/// a five-hundredth of what rounding to bfloat16 costs.
ELASTIC_LANES FloatLanes probability_of(FloatLanes t) {
  constexpr float shifter = 12582912.0f;
  const FloatLanes shifted = t + shifter;  // n in the low bits
  const FloatLanes r = t - (shifted - shifter);
  FloatLanes p = r * 9.782912553e-3f + 5.597688363e-2f;
  p = p * r + 2.402071108e-1f;
  p = p * r + 6.931136044e-1f;
  p = p * r + 1.0f;
  const auto power = std::bit_cast<FloatLanes>(std::bit_cast<WordLanes>(p) +
                                               (std::bit_cast<WordLanes>(shifted) << 23));
  return t < smallest_score<float> * log2_e ? FloatLanes{} : power;
}

/// log2(exp(scale s)) = s * this
ELASTIC_LANES float score_factor(const AttentionShape& shape) {
  return attention_scale<float>(shape) * log2_e;
}

/// target [all_rows, ld] = source [rows, columns], zero elsewhere.
inline void copy_rows(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source,
                      index_t rows, index_t columns, index_t all_rows) {
  const auto bytes = [](index_t n) { return static_cast<std::size_t>(n) * sizeof(bfloat16); };
  for (index_t i = 0; i < rows; ++i, target += ld) {
    std::memcpy(target, source + i * ld_source, bytes(columns));
    std::memset(static_cast<void*>(target + columns), 0, bytes(ld - columns));
  }
  std::memset(static_cast<void*>(target), 0, bytes((all_rows - rows) * ld));
}

/// Segments of positions; those past the last have the number of the last.
inline void load_segments(token_t* target, index_t extent, const AttentionHead& head, index_t begin,
                          index_t count) {
  for (index_t i = 0; i < extent; ++i)
    target[i] = head.segment == nullptr ? 0 : head.segment[begin + math::min(i, count - 1)];
}

/// Teams of one thread: a thread has its matrix units to itself.
inline Kokkos::TeamPolicy<ExecutionSpace> single_threads(const ExecutionSpace& exec, index_t teams,
                                                         const TeamScratch& memory) {
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, static_cast<int>(teams), 1);
  policy.set_scratch_size(memory.level, Kokkos::PerTeam(static_cast<int>(memory.bytes + 64)));
  return policy;
}

}  // namespace elastic::kernels
