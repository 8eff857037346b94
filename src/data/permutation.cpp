// SPDX-License-Identifier: Apache-2.0
// Feistel network with cycle walking.
#include "data/permutation.hpp"

#include <algorithm>
#include <bit>

#include "base/error.hpp"

namespace elastic {
namespace {
constexpr std::uint64_t rounds = 6;
}

Permutation::Permutation(index_t n, RandomKey key) : m_n(n), m_key(key) {
  ELASTIC_REQUIRE(n > 0, "a permutation of {} things", n);
  const int bits = std::bit_width(static_cast<std::uint64_t>(n - 1));
  m_half_bits = std::max(1, (bits + 1) / 2);
}

index_t Permutation::operator()(index_t i) const {
  ELASTIC_REQUIRE(i >= 0 && i < m_n, "element {} of {}", i, m_n);
  auto value = static_cast<std::uint64_t>(i);
  // The network permutes a larger power of two; the orbit of i returns to i, so it meets [0, n).
  do value = encrypt(value);
  while (value >= static_cast<std::uint64_t>(m_n));
  return static_cast<index_t>(value);
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << m_half_bits) - 1;
  std::uint64_t left = value >> m_half_bits, right = value & mask;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t mixed = left ^ (random_bits(m_key, (round << 32) | right).word[0] & mask);
    left = right;
    right = mixed;
  }
  return (left << m_half_bits) | right;
}

}  // namespace elastic
