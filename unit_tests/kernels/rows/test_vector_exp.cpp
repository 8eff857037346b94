// SPDX-License-Identifier: Apache-2.0
// The vectorisable exponential against the library's.
#include "kernels/rows/vector_exp.hpp"

#include <cmath>
#include <limits>

using elastic::kernels::vector_exp;
using elastic::kernels::vector_sigmoid;

namespace {
TEST(VectorExp, FloatIsAccurateOverItsRange) {
  double worst = 0;
  for (int i = 0; i <= 2000000; ++i) {
    const float x = -87.2f + 175.4f * static_cast<float>(i) / 2000000;
    const double expected = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(vector_exp(x) - expected) / expected);
  }
  EXPECT_LT(worst, 1.5e-7);
}

TEST(VectorExp, FloatOutsideItsRange) {
  const float infinity = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(vector_exp(0.0f), 1.0f);
  EXPECT_EQ(vector_exp(-0.0f), 1.0f);
  EXPECT_LT(vector_exp(-1e30f), 2e-38f);
  EXPECT_LT(vector_exp(-infinity), 2e-38f);
  EXPECT_GT(vector_exp(infinity), 2e38f);
  EXPECT_TRUE(std::isnan(vector_exp(nan)));
  EXPECT_TRUE(std::isnan(vector_exp(-nan)));
}

TEST(VectorExp, DoubleIsTheLibrary) {
  EXPECT_EQ(vector_exp(-1.25), std::exp(-1.25));
  EXPECT_EQ(vector_sigmoid(0.0), 0.5);
}
}  // namespace
