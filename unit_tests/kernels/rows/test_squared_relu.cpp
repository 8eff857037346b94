// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/squared_relu.hpp"

#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class SquaredRelu : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(SquaredRelu, Scalars);

template <class T>
class SquaredReluOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SquaredReluOfPyTorch, ExactScalars);

TYPED_TEST(SquaredReluOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("dense_kernels.h5");
  for (const bool masked : {false, true}) {
    const std::string name = masked ? "squared_relu_masked/" : "squared_relu_plain/";
    const auto x = f.matrix<T>(name + "x");
    const auto mask = masked ? f.vector<T>(name + "mask") : View1<T>();
    const View2<T> y("elastic::test::y", x.extent(0), x.extent(1));
    squared_relu_forward<T>(ExecutionSpace(), x, mask, y);
    EXPECT_TRUE(near(y, f.matrix<double>(name + "y"), tolerance<T>(1)));
    const View1<T> dmask("elastic::test::dmask", mask.extent(0));
    const auto dx = f.matrix<T>(name + "dy");  // in place
    squared_relu_backward<T>(ExecutionSpace(), dx, x, mask, dx, dmask);
    EXPECT_TRUE(near(dx, f.matrix<double>(name + "dx"), tolerance<T>(1)));
    if (masked) {
      EXPECT_TRUE(near(dmask, f.vector<double>(name + "dmask"), tolerance<T>(x.extent(0))));
    }
  }
}

TYPED_TEST(SquaredRelu, EqualsNaive) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 9, width = 37;
  const auto x = strided_random_matrix<T>(tokens, width, width + 3, 1),
             dx = strided_random_matrix<T>(tokens, width, width + 5, 2);  // dy, in place
  const auto mask = random_vector<A>(width, 3), dmask = random_vector<A>(width, 4);
  const View2<T> y("elastic::test::y", tokens, width);
  const auto v_x = to_double(x), v_dy = to_double(dx), m = to_double(mask);
  std::vector<double> e_y(tokens * width), e_dx(tokens * width), e_dmask = to_double(dmask);
  for (index_t i = 0; i < tokens * width; ++i) {
    const index_t j = i % width;
    const double r = std::max(0.0, m[j] * v_x[i]);
    e_y[i] = r * r;
    e_dx[i] = 2 * m[j] * r * v_dy[i];
    e_dmask[j] += 2 * r * v_x[i] * v_dy[i];
  }
  squared_relu_forward<T>(ExecutionSpace(), x, mask, y);
  squared_relu_backward<T>(ExecutionSpace(), dx, x, mask, dx, dmask);
  EXPECT_TRUE(near(y, e_y, tolerance<T>(1)));
  EXPECT_TRUE(near(dx, e_dx, tolerance<T>(1)));
  EXPECT_TRUE(near(dmask, e_dmask, tolerance<T>(tokens)));
}

TEST(SquaredReluGradient, EqualsFiniteDifferences) {
  const auto x = random_matrix<double>(20, 1500, 1),
             dy = random_matrix<double>(20, 1500, 2);  // more than one piece of columns
  const auto mask = random_vector<double>(1500, 3, 0.2, 1);
  const View2<double> y("elastic::test::y", 20, 1500), dx("elastic::test::dx", 20, 1500);
  const View1<double> dmask("elastic::test::dmask", 1500);
  const auto loss = [&] {
    squared_relu_forward<double>(ExecutionSpace(), x, mask, y);
    return dot(y, dy);
  };
  squared_relu_backward<double>(ExecutionSpace(), dy, x, mask, dx, dmask);
  EXPECT_LT(directional_error(loss, x, dx), 1e-6);
  EXPECT_LT(directional_error(loss, mask, dmask), 1e-6);
}

TYPED_TEST(SquaredRelu, MaskedEqualsSliced) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t kept = 21, full = 40, tokens = 9;
  const auto x = random_matrix<T>(tokens, full, 1), dy = random_matrix<T>(tokens, full, 2);
  std::vector<A> values(full, A(0));
  std::fill_n(values.begin(), kept, A(1));
  const auto mask = to_device(values);
  const View2<T> y("elastic::test::y", tokens, full), y_kept("elastic::test::y", tokens, kept);
  const View2<T> dx("elastic::test::dx", tokens, full), dx_kept("elastic::test::dx", tokens, kept);
  squared_relu_forward<T>(ExecutionSpace(), x, mask, y);
  squared_relu_forward<T>(ExecutionSpace(), prefix(x, tokens, kept), {}, y_kept);
  squared_relu_backward<T>(ExecutionSpace(), dy, x, mask, dx, {});
  squared_relu_backward<T>(ExecutionSpace(), prefix(dy, tokens, kept), prefix(x, tokens, kept), {},
                           dx_kept, {});
  EXPECT_TRUE(bitwise_equal(prefix(y, tokens, kept), y_kept));
  EXPECT_TRUE(bitwise_equal(prefix(dx, tokens, kept), dx_kept));
  const auto all = to_host(y);
  for (index_t j = kept; j < full; ++j) EXPECT_EQ(all[j], T(0));
}

TYPED_TEST(SquaredRelu, NegativeInputsHaveNeitherValueNorGradient) {
  using T = TypeParam;
  const auto x = random_matrix<T>(5, 30, 1, -2, -0.01), dy = random_matrix<T>(5, 30, 2);
  const auto y = random_matrix<T>(5, 30, 3), dx = random_matrix<T>(5, 30, 4);
  squared_relu_forward<T>(ExecutionSpace(), x, {}, y);
  squared_relu_backward<T>(ExecutionSpace(), dy, x, {}, dx, {});
  for (const T value : to_host(y)) EXPECT_EQ(value, T(0));
  for (const T value : to_host(dx)) EXPECT_EQ(value, T(0));
}

TYPED_TEST(SquaredRelu, MaskGradientsAccumulateAndRepeatBitwise) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto x = random_matrix<T>(50, 1100, 1), dy = random_matrix<T>(50, 1100, 2);
  const auto mask = random_vector<A>(1100, 3, 0.2, 1);
  const View2<T> dx("elastic::test::dx", 50, 1100);
  const View1<A> once("elastic::test::once", 1100), twice("elastic::test::twice", 1100);
  squared_relu_backward<T>(ExecutionSpace(), dy, x, mask, dx, once);
  squared_relu_backward<T>(ExecutionSpace(), dy, x, mask, dx, twice);
  EXPECT_TRUE(bitwise_equal(once, twice));
  squared_relu_backward<T>(ExecutionSpace(), dy, x, mask, dx, twice);
  auto doubled = to_double(once);
  for (double& value : doubled) value *= 2;
  EXPECT_TRUE(near(twice, doubled, tolerance<T>(50)));
}

TYPED_TEST(SquaredRelu, WrongExtentsAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto x = random_matrix<T>(3, 4, 1), bad = random_matrix<T>(2, 4, 1);
  const auto vector = random_vector<A>(5, 1);
  EXPECT_TRUE(
      refuses([&] { squared_relu_forward<T>(exec, x, vector, x); }, "mask is [5], expected [4]"));
  EXPECT_TRUE(
      refuses([&] { squared_relu_forward<T>(exec, x, {}, bad); }, "y is [2, 4], expected [3, 4]"));
  EXPECT_TRUE(refuses([&] { squared_relu_backward<T>(exec, bad, x, {}, x, {}); }, "dy is [2, 4]"));
  EXPECT_TRUE(refuses([&] { squared_relu_backward<T>(exec, x, x, {}, bad, {}); }, "dx is [2, 4]"));
  EXPECT_TRUE(
      refuses([&] { squared_relu_backward<T>(exec, x, x, {}, x, vector); }, "dmask is [5]"));
}

}  // namespace
}  // namespace elastic::kernels
