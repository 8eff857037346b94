// SPDX-License-Identifier: Apache-2.0
#include "kernels/global_norm.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class S>
class GlobalNorm : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(GlobalNorm, Scalars);

TYPED_TEST(GlobalNorm, EqualsNaiveAcrossBlocks) {
  using S = TypeParam;
  for (const index_t n : {0, 1, 31, 4096, 4097, 100003}) {
    const auto x = random_vector<S>(n, 1);
    long double squares = 0, plain = 0;
    for (const double value : to_double(x)) {
      squares += static_cast<long double>(value) * value;
      plain += value;
    }
    EXPECT_NEAR(sum_of_squares<S>(ExecutionSpace(), x), static_cast<double>(squares),
                tolerance<double>(n) * (1 + n / 3.0));
    EXPECT_NEAR(sum<S>(ExecutionSpace(), x), static_cast<double>(plain),
                tolerance<double>(n) * std::sqrt(1.0 + n));
  }
}

TYPED_TEST(GlobalNorm, KeepsSmallTermsBesideLargeOnes) {
  using S = TypeParam;
  const index_t n = 200000;
  std::vector<S> values(n, S(1e-4));
  values[0] = S(1e4);
  const double expected = static_cast<double>(values[0]) + (n - 1) * static_cast<double>(values[1]);
  EXPECT_NEAR(sum<S>(ExecutionSpace(), to_device(values)), expected,
              1e-9 * expected);  // a sum in float loses 20
}

TYPED_TEST(GlobalNorm, IsRepeatable) {
  using S = TypeParam;
  const auto x = random_vector<S>(50000, 2);
  EXPECT_EQ(sum_of_squares<S>(ExecutionSpace(), x), sum_of_squares<S>(ExecutionSpace(), clone(x)));
}

}  // namespace
}  // namespace elastic::kernels
