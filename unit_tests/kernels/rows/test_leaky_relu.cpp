// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/leaky_relu.hpp"

#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class LeakyRelu : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(LeakyRelu, Scalars);

TYPED_TEST(LeakyRelu, KnownValues) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto x = to_device(stored<T>({-2, 0, 3, -0.5}), 2, 2), y = clone(x);
  leaky_relu_forward<T>(ExecutionSpace(), x, A(0.25), y);
  EXPECT_TRUE(bitwise_equal(to_host(y), stored<T>({-0.5, 0, 3, -0.125})));
  const auto dy = to_device(stored<T>({1, 2, 3, 4}), 2, 2);
  leaky_relu_backward<T>(ExecutionSpace(), dy, x, A(0.25), dy);
  EXPECT_TRUE(bitwise_equal(to_host(dy), stored<T>({0.25, 0.5, 3, 1})));
}

TEST(LeakyReluGradient, EqualsFiniteDifferences) {
  const auto dy = random_matrix<double>(6, 9, 2);
  auto values = random_values<double>(54, 1);
  for (double& v : values) v += v > 0 ? 0.01 : -0.01;  // away from the kink
  const auto x = to_device(values, 6, 9);
  const View2<double> y("elastic::test::y", 6, 9), dx("elastic::test::dx", 6, 9);
  const auto loss = [&] {
    leaky_relu_forward<double>(ExecutionSpace(), x, 0.01, y);
    return dot(y, dy);
  };
  leaky_relu_backward<double>(ExecutionSpace(), dy, x, 0.01, dx);
  EXPECT_LT(directional_error(loss, x, dx), 1e-6);
}

TYPED_TEST(LeakyRelu, StridedRowsAndNothingBesideThem) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto x = strided_random_matrix<T>(7, 9, 12, 1);
  const auto parent = random_matrix<T>(8, 11, 2);
  const auto before = to_host(parent);
  leaky_relu_forward<T>(ExecutionSpace(), x, A(0.1f), prefix(parent, 7, 9));
  const auto after = to_host(parent), values = to_host(x);
  for (index_t i = 0; i < 8; ++i)
    for (index_t j = 0; j < 11; ++j) {
      if (i == 7 || j >= 9) {
        EXPECT_EQ(after[i * 11 + j], before[i * 11 + j]);
        continue;
      }
      const A v = widen(values[i * 9 + j]);
      EXPECT_EQ(after[i * 11 + j], static_cast<T>(v > 0 ? v : A(0.1f) * v));
    }
}

TYPED_TEST(LeakyRelu, EmptyExtentsAreAllowedAndWrongOnesAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  leaky_relu_forward<T>(exec, View2<T>("elastic::test::x", 0, 4), A(0.1f),
                        View2<T>("elastic::test::y", 0, 4));
  const auto x = random_matrix<T>(3, 4, 1), y = random_matrix<T>(3, 5, 1);
  EXPECT_TRUE(refuses([&] { leaky_relu_forward<T>(exec, x, A(0.1f), y); },
                      "leaky_relu_forward: y is [3, 5], expected [3, 4]"));
  EXPECT_TRUE(refuses([&] { leaky_relu_backward<T>(exec, y, x, A(0.1f), x); }, "dy is [3, 5]"));
  EXPECT_TRUE(refuses([&] { leaky_relu_backward<T>(exec, x, x, A(0.1f), y); }, "dx is [3, 5]"));
}

}  // namespace
}  // namespace elastic::kernels
