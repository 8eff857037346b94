// SPDX-License-Identifier: Apache-2.0
// A random order of n things, one element at a time: no table, no state.
#pragma once
#include "base/random.hpp"

namespace elastic {

/// A bijection of [0, n) given by a key: a Feistel network of six rounds on the smallest even
/// number of bits that holds n - 1, with Philox as the round function. Values that fall outside
/// [0, n) are sent through again (cycle walking), four times at most on average.
class Permutation {
 public:
  Permutation(index_t n, RandomKey key);
  index_t operator()(index_t i) const;
  index_t size() const { return m_n; }

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  index_t m_n;
  RandomKey m_key;
  int m_half_bits;
};

}  // namespace elastic
