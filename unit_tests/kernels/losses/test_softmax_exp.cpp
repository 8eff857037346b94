// SPDX-License-Identifier: Apache-2.0
#include "kernels/losses/softmax_exp.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace elastic::kernels {
namespace {

template <class T>
class SoftmaxExp : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(SoftmaxExp, Scalars);

TYPED_TEST(SoftmaxExp, IsNearTheExponential) {
  using A = Accumulate<TypeParam>;
  const double expected = std::is_same_v<TypeParam, bfloat16> ? 7e-6 : 1.5e-7;
  double worst = 0;
  for (double x = -87.25; x <= 0; x += 0.000731) {
    const double exact = std::exp(static_cast<double>(static_cast<A>(x)));
    worst = std::max(
        worst,
        std::abs(static_cast<double>(softmax_exp<TypeParam>(static_cast<A>(x))) / exact - 1));
  }
  EXPECT_LT(worst, expected);
}

/// The largest logit of a row counts as exactly 1, and NaN is not lost.
TYPED_TEST(SoftmaxExp, EndsAreExact) {
  using A = Accumulate<TypeParam>;
  constexpr A nan = std::numeric_limits<A>::quiet_NaN(),
              infinity = std::numeric_limits<A>::infinity();
  EXPECT_EQ(softmax_exp<TypeParam>(A(0)), A(1));
  EXPECT_LT(softmax_exp<TypeParam>(A(-1e30)), A(2e-38));
  EXPECT_LT(softmax_exp<TypeParam>(-infinity), A(2e-38));
  EXPECT_TRUE(std::isnan(softmax_exp<TypeParam>(nan)));
  EXPECT_TRUE(std::isnan(softmax_exp<TypeParam>(-nan)));
}

TEST(SoftmaxExp, InFp32ItHasTheBitsOfVectorExp) {
  for (float x = 0.5f; x > -90; x -= 0.00173f) EXPECT_EQ(softmax_exp<float>(x), vector_exp(x));
}

}  // namespace
}  // namespace elastic::kernels
