// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/column_scale.hpp"

#include "base/error.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class ColumnScale : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(ColumnScale, Scalars);

TYPED_TEST(ColumnScale, EqualsNaiveAlsoInPlace) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 20, heads = 7;
  for (const index_t block : {1, 3, 40}) {
    const index_t width = heads * block;
    const auto x = strided_random_matrix<T>(tokens, width, width + 3, 1), y = clone(x);
    const auto dy = strided_random_matrix<T>(tokens, width, width + 1, 2);
    const auto mask = random_vector<A>(heads, 3, 0, 1), dmask = random_vector<A>(heads, 4);
    const auto v_x = to_double(x), v_dy = to_double(dy), m = to_double(mask);
    std::vector<double> e_y(tokens * width), e_dx(tokens * width), e_dmask = to_double(dmask);
    for (index_t i = 0; i < tokens * width; ++i) {
      const index_t a = i % width / block;
      e_y[i] = m[a] * v_x[i];
      e_dx[i] = m[a] * v_dy[i];
      e_dmask[a] += v_x[i] * v_dy[i];
    }
    column_scale_forward<T>(ExecutionSpace(), y, mask, block, y);
    column_scale_backward<T>(ExecutionSpace(), dy, x, mask, block, dy, dmask);
    EXPECT_TRUE(near(y, e_y, tolerance<T>(1))) << block;
    EXPECT_TRUE(near(dy, e_dx, tolerance<T>(1))) << block;
    EXPECT_TRUE(near(dmask, e_dmask, tolerance<T>(tokens * block))) << block;
  }
}

TEST(ColumnScaleGradient, EqualsFiniteDifferences) {
  const auto x = random_matrix<double>(5, 12, 1), dy = random_matrix<double>(5, 12, 2);
  const auto mask = random_vector<double>(3, 3);
  const View2<double> y("elastic::test::y", 5, 12), dx("elastic::test::dx", 5, 12);
  const View1<double> dmask("elastic::test::dmask", 3);
  const auto loss = [&] {
    column_scale_forward<double>(ExecutionSpace(), x, mask, 4, y);
    return dot(y, dy);
  };
  column_scale_backward<double>(ExecutionSpace(), dy, x, mask, 4, dx, dmask);
  EXPECT_LT(directional_error(loss, x, dx), 1e-6);
  EXPECT_LT(directional_error(loss, mask, dmask), 1e-6);
}

TYPED_TEST(ColumnScale, RejectsMaskOfWrongLength) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto x = random_matrix<T>(2, 12, 1);
  EXPECT_THROW(column_scale_forward<T>(ExecutionSpace(), x, random_vector<A>(4, 1), 4, x),
               ContractError);
}

TYPED_TEST(ColumnScale, RepeatsBitwiseAndNamesWrongExtents) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto x = random_matrix<T>(70, 12, 1), dy = random_matrix<T>(70, 12, 2),
             bad = random_matrix<T>(70, 11, 3);
  const auto mask = random_vector<A>(3, 3), other = random_vector<A>(4, 4);
  const View2<T> dx("elastic::test::dx", 70, 12);
  const View1<A> once("elastic::test::once", 3), twice("elastic::test::twice", 3);
  column_scale_backward<T>(exec, dy, x, mask, 4, dx, once);
  column_scale_backward<T>(exec, dy, x, mask, 4, dx, twice);
  EXPECT_TRUE(bitwise_equal(once, twice));
  EXPECT_TRUE(refuses([&] { column_scale_forward<T>(exec, x, mask, 4, bad); },
                      "y is [70, 11], expected [70, 12]"));
  EXPECT_TRUE(refuses([&] { column_scale_backward<T>(exec, bad, x, mask, 4, dx, once); },
                      "dy is [70, 11]"));
  EXPECT_TRUE(refuses([&] { column_scale_backward<T>(exec, dy, x, mask, 4, bad, once); },
                      "dx is [70, 11]"));
  EXPECT_TRUE(refuses([&] { column_scale_backward<T>(exec, dy, x, mask, 4, dx, other); },
                      "dmask is [4], expected [3]"));
}

}  // namespace
}  // namespace elastic::kernels
