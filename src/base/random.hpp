// SPDX-License-Identifier: Apache-2.0
// Random numbers as a pure function of (seed, purpose, stream, index): nothing to save,
// and the numbers are equal on any number of ranks.
//
// Philox4x32-10 (Salmon et al. 2011; library Random123):
//
//   key      (seed, purpose)   32 bits each
//   counter  (index, stream)   64 bits each
#pragma once
#include <Random123/philox.h>

#include "base/types.hpp"

namespace elastic {

/// What a number is drawn for. Numbers of different purposes are independent.
/// The values are part of the file format.
enum class RandomPurpose : std::uint32_t {
  initialization = 1,
  gumbel_noise = 2,
  budget = 3,
  hard_sample = 4,
  sample_order = 5,
  problem = 6,
  sampling = 7,
  test = 8,
  ranking = 9
};

/// What a sequence of random numbers belongs to.
struct RandomKey {
  std::uint32_t seed;
  RandomPurpose purpose;
  std::uint64_t stream = 0;  ///< tensor, step or sample
};

struct RandomBits {
  std::uint32_t word[4];
};

/// The 128 random bits that belong to an index.
KOKKOS_INLINE_FUNCTION RandomBits random_bits(const RandomKey& key, std::uint64_t index) {
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
       static_cast<std::uint32_t>(key.stream), static_cast<std::uint32_t>(key.stream >> 32)}};
  const r123::Philox4x32::key_type philox_key = {
      {key.seed, static_cast<std::uint32_t>(key.purpose)}};
  const auto bits = r123::Philox4x32()(counter, philox_key);
  return {{bits[0], bits[1], bits[2], bits[3]}};
}

/// Uniform in (0, 1): never 0, never 1, so that logarithms are finite.
KOKKOS_INLINE_FUNCTION double uniform_from_bits(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = ((static_cast<std::uint64_t>(high) << 32) | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}
/// The uniform number of an index, in (0, 1).
KOKKOS_INLINE_FUNCTION double random_uniform(const RandomKey& key, std::uint64_t index) {
  const RandomBits bits = random_bits(key, index);
  return uniform_from_bits(bits.word[0], bits.word[1]);
}
/// A standard normal number (Box-Muller).
KOKKOS_INLINE_FUNCTION double random_normal(const RandomKey& key, std::uint64_t index) {
  const RandomBits bits = random_bits(key, index);
  const double u = uniform_from_bits(bits.word[0], bits.word[1]),
               v = uniform_from_bits(bits.word[2], bits.word[3]);
  return math::sqrt(-2.0 * math::log(u)) * math::cos(6.283185307179586 * v);
}
/// Integer in [0, count).
KOKKOS_INLINE_FUNCTION std::uint64_t random_below(const RandomKey& key, std::uint64_t index,
                                                  std::uint64_t count) {
  const RandomBits bits = random_bits(key, index);
  return ((static_cast<std::uint64_t>(bits.word[0]) << 32) | bits.word[1]) % count;
}
/// A key that belongs to one index, for callers that need many numbers per index.
KOKKOS_INLINE_FUNCTION RandomKey random_subkey(const RandomKey& key, std::uint64_t index) {
  const RandomBits bits = random_bits(key, index);
  return {key.seed, key.purpose, (static_cast<std::uint64_t>(bits.word[0]) << 32) | bits.word[1]};
}

}  // namespace elastic
