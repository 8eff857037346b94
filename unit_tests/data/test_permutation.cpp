// SPDX-License-Identifier: Apache-2.0
// Random orders without tables.
#include "data/permutation.hpp"

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

RandomKey key(std::uint32_t seed, std::uint64_t stream = 0) {
  return {seed, RandomPurpose::test, stream};
}

TEST(Permutation, IsABijection) {
  for (const index_t n : {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 1000, 4097, 100000}) {
    const Permutation permutation(n, key(1, static_cast<std::uint64_t>(n)));
    std::vector<bool> seen(static_cast<std::size_t>(n), false);
    for (index_t i = 0; i < n; ++i) {
      const index_t image = permutation(i);
      ASSERT_TRUE(image >= 0 && image < n);
      ASSERT_FALSE(seen[static_cast<std::size_t>(image)]) << "n = " << n << ", i = " << i;
      seen[static_cast<std::size_t>(image)] = true;
    }
  }
}

TEST(Permutation, LargeSizesStayInside) {
  const index_t n = (index_t{1} << 62) + 12345;
  const Permutation permutation(n, key(2));
  for (index_t i = 0; i < 100; ++i) {
    const index_t image = permutation(n - 1 - i);
    EXPECT_TRUE(image >= 0 && image < n);
  }
}

/// Where element i goes over many keys: all places equally often. The sum of squared deviations
/// over the expectation has mean n - 1 and variance 2 (n - 1) for true permutations.
TEST(Permutation, EveryPlaceIsEquallyLikely) {
  const index_t n = 40, keys = 20000;
  for (const index_t i : {0, 17, 39}) {
    std::vector<double> count(n, 0);
    for (index_t k = 0; k < keys; ++k)
      ++count[static_cast<std::size_t>(Permutation(n, key(3, static_cast<std::uint64_t>(k)))(i))];
    const double expected = static_cast<double>(keys) / n;
    double chi_squared = 0;
    for (const double c : count) chi_squared += (c - expected) * (c - expected) / expected;
    EXPECT_LT(chi_squared, (n - 1) + 5 * std::sqrt(2.0 * (n - 1)));
  }
}

/// A random permutation has one fixed point and half a neighbour pair (i, i + 1 -> j, j + 1) on
/// average, whatever its size.
TEST(Permutation, NeighboursAreSeparated) {
  const index_t n = 10000;
  const Permutation permutation(n, key(4));
  index_t fixed = 0, neighbours = 0;
  for (index_t i = 0; i + 1 < n; ++i) {
    fixed += permutation(i) == i;
    neighbours += permutation(i + 1) == permutation(i) + 1;
  }
  EXPECT_LT(fixed, 8);
  EXPECT_LT(neighbours, 8);
}

TEST(Permutation, KeysGiveDifferentOrders) {
  const index_t n = 1000;
  index_t equal_seed = 0, equal_stream = 0;
  for (index_t i = 0; i < n; ++i) {
    equal_seed += Permutation(n, key(5))(i) == Permutation(n, key(6))(i);
    equal_stream += Permutation(n, key(5))(i) == Permutation(n, key(5, 1))(i);
  }
  EXPECT_LT(equal_seed, 10);
  EXPECT_LT(equal_stream, 10);
}

TEST(Permutation, Preconditions) {
  EXPECT_THROW(Permutation(0, key(1)), ContractError);
  EXPECT_THROW(Permutation(5, key(1))(5), ContractError);
  EXPECT_THROW(Permutation(5, key(1))(-1), ContractError);
}

}  // namespace
}  // namespace elastic::test
