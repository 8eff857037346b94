// SPDX-License-Identifier: Apache-2.0
// Weight gradients on matrix units against the deterministic product, for extents on and off the
// blocks, strided operands, with and without what C holds.
#include "kernels/products/weight_gradient_product.hpp"

#include "kernels/products/gemm_deterministic.hpp"
#include "kernels/products/matrix_tiles.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

void expect_the_deterministic_product(index_t m, index_t n, index_t k, float beta) {
  const auto a = strided_random_matrix<bfloat16>(k, m, m + 24, 1),
             b = strided_random_matrix<bfloat16>(k, n, n + 8, 2);
  const auto c = strided_random_matrix<float>(m, n, n + 5, 3);
  const View2<float> expected("elastic::test::expected", m, n);
  Kokkos::deep_copy(expected, c);
  const auto of_a = operand<bfloat16>(a, Transpose::yes),
             of_b = operand<bfloat16>(b, Transpose::no);
  weight_gradient_product(ExecutionSpace(), k, of_a, of_b, beta, c);
  deterministic_product<bfloat16, float>(ExecutionSpace(), k, 1, of_a, of_b, beta, expected);
  EXPECT_TRUE(near(c, expected, tolerance<bfloat16>(k)))
      << m << " " << n << " " << k << " " << beta;
}

TEST(WeightGradientProduct, EqualsTheDeterministicProduct) {
  if (!std::is_same_v<MemorySpace, HostSpace>) GTEST_SKIP() << "a product of processors";
  for (const float beta : {0.0f, 1.0f}) {
    expect_the_deterministic_product(256, 256, 256, beta);
    expect_the_deterministic_product(272, 304, 1000, beta);
    expect_the_deterministic_product(16, 48, 37, beta);
    expect_the_deterministic_product(528, 16, 513, beta);
  }
}
TEST(WeightGradientProduct, TakesTransposedOperandsOfWholeTilesOnly) {
  const View2<bfloat16> a("elastic::test::a", 512, 512);
  const auto plain = operand<bfloat16>(a, Transpose::no),
             turned = operand<bfloat16>(a, Transpose::yes);
  const bool host = std::is_same_v<MemorySpace, HostSpace>;
  EXPECT_EQ(suits_weight_gradient_product(512, 512, 512, turned, plain),
            host && has_matrix_units());
  EXPECT_FALSE(suits_weight_gradient_product(512, 512, 512, plain, plain));
  EXPECT_FALSE(suits_weight_gradient_product(512, 512, 512, turned, turned));
  EXPECT_FALSE(suits_weight_gradient_product(511, 512, 512, turned, plain));
  EXPECT_FALSE(suits_weight_gradient_product(512, 64, 512, turned, plain));
}

}  // namespace
}  // namespace elastic::kernels
