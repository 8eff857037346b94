// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/global_norm.hpp"

#include <limits>

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class GlobalNorm : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(GlobalNorm, Scalars);

TYPED_TEST(GlobalNorm, EqualsNaiveAcrossBlocks) {
  using T = TypeParam;
  for (const index_t n : {0, 1, 31, 4096, 4097, 100003}) {
    const auto x = random_vector<T>(n, 1);
    long double squares = 0, plain = 0;
    for (const double value : to_double(x)) {
      squares += static_cast<long double>(value) * value;
      plain += value;
    }
    EXPECT_NEAR(sum_of_squares<T>(ExecutionSpace(), {x}), static_cast<double>(squares),
                tolerance<double>(n) * (1 + n / 3.0));
    EXPECT_NEAR(sum<T>(ExecutionSpace(), x), static_cast<double>(plain),
                tolerance<double>(n) * std::sqrt(1.0 + n));
  }
}

TYPED_TEST(GlobalNorm, KeepsSmallTermsBesideLargeOnes) {
  using T = TypeParam;
  const index_t n = 200000;
  std::vector<T> values(n, T(1e-4));
  values[0] = T(1e4);
  const double expected = static_cast<double>(values[0]) + (n - 1) * static_cast<double>(values[1]);
  EXPECT_NEAR(sum<T>(ExecutionSpace(), to_device(values)), expected,
              1e-9 * expected);  // a sum in float loses 20
}

TYPED_TEST(GlobalNorm, IsRepeatable) {
  using T = TypeParam;
  const auto x = random_vector<T>(50000, 2);
  EXPECT_EQ(sum_of_squares<T>(ExecutionSpace(), {x}),
            sum_of_squares<T>(ExecutionSpace(), {clone(x)}));
}

TYPED_TEST(GlobalNorm, UsesTheWorkspaceGiven) {
  using T = TypeParam;
  const auto x = random_vector<T>(50000, 2), y = random_vector<T>(1, 3);
  const View1<double> workspace("elastic::test", norm_workspace(50001, 2));
  EXPECT_EQ(sum_of_squares<T>(ExecutionSpace(), {x}, workspace),
            sum_of_squares<T>(ExecutionSpace(), {x}));
  EXPECT_NE(to_host(workspace)[0], 0);
  EXPECT_EQ(largest_square<T>(ExecutionSpace(), {x, y}, workspace),
            largest_square<T>(ExecutionSpace(), {x, y}));
  EXPECT_THROW(sum<T>(ExecutionSpace(), x, prefix(workspace, 3)), ContractError);
}

TYPED_TEST(GlobalNorm, OfSeveralParts) {
  using T = TypeParam;
  const auto x = random_vector<T>(20000, 4);
  const auto whole = sum_of_squares<T>(ExecutionSpace(), {x});
  const auto cut =
      sum_of_squares<T>(ExecutionSpace(), {prefix(x, 4096), Kokkos::subview(x, Range(4096, 4096)),
                                           Kokkos::subview(x, Range(4096, 20000))});
  EXPECT_EQ(cut, whole);  // cut between blocks
  EXPECT_EQ(sum_of_squares<T>(ExecutionSpace(), Parts<T>{}), 0);
}

template <class T>
FixedSquares fixed_squares(const Parts<T>& parts, double largest) {
  return sum_of_squares_fixed<T>(ExecutionSpace(), parts, largest);
}
template <class T>
void expect_same(const FixedSquares& a, const FixedSquares& b) {
  EXPECT_EQ(a.high, b.high);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.count, b.count);
}

TYPED_TEST(GlobalNorm, FixedSquaresHaveTheSameBitsInAnyOrder) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t n = 30011;
  auto values = random_values<T>(n, 5);
  for (index_t i = 0; i < n; ++i)
    values[i] = static_cast<T>(widen(values[i]) * (i % 5 == 0 ? A(1e-4) : A(37)));
  const auto x = to_device(values);
  const double largest = largest_square<T>(ExecutionSpace(), {x});
  const FixedSquares whole = fixed_squares<T>({x}, largest);

  std::reverse(values.begin(), values.end());
  expect_same<T>(fixed_squares<T>({to_device(values)}, largest), whole);
  for (const index_t cut : {1, 4096, 12345}) {
    const View1<T> front = prefix(x, cut), back = Kokkos::subview(x, Range(cut, n));
    expect_same<T>(fixed_squares<T>({back, front}, largest), whole);
    const FixedSquares a = fixed_squares<T>({front}, largest),
                       b = fixed_squares<T>({back}, largest);
    expect_same<T>({a.high + b.high, a.low + b.low, a.count + b.count}, whole);
  }
}

TYPED_TEST(GlobalNorm, FixedSquaresKeepTheirErrorBound) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const double scale : {1.0, 3e-12, 5e9})
    for (const double small : {1.0, 1e-5}) {  // all alike; one large element beside small ones
      const index_t n = 100003;
      auto values = random_values<T>(n, 6);
      for (auto& value : values)
        value = static_cast<T>(widen(value) * static_cast<A>(scale * small));
      values[777] = static_cast<T>(1.3 * scale);
      long double exact = 0;
      for (const double value : to_double(values)) exact += static_cast<long double>(value) * value;
      const auto x = to_device(values);
      const double largest = largest_square<T>(ExecutionSpace(), {x});
      EXPECT_EQ(largest, static_cast<double>(values[777]) * static_cast<double>(values[777]));
      const double sum = fixed_squares<T>({x}, largest).value(largest);
      EXPECT_LE(std::abs(sum - static_cast<double>(exact)),
                n * 0x1p-55 * largest + 0x1p-52 * static_cast<double>(exact));
    }
}

TYPED_TEST(GlobalNorm, LargestSquareSeesWhatIsNotFinite) {
  using T = TypeParam;
  using A = Accumulate<T>;
  using Limits = std::numeric_limits<A>;
  EXPECT_EQ(largest_square<T>(ExecutionSpace(), Parts<T>{}), 0);
  EXPECT_EQ(largest_square<T>(ExecutionSpace(), {to_device<T>({T(-3), T(2)}), View1<T>()}), 9);
  for (const A bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    auto values = random_values<T>(9000, 7);
    values[8999] = static_cast<T>(bad);
    EXPECT_EQ(largest_square<T>(ExecutionSpace(), {random_vector<T>(10, 8), to_device(values)}),
              std::numeric_limits<double>::infinity());
  }
  EXPECT_THROW(fixed_squares<T>({}, std::numeric_limits<double>::infinity()), ContractError);
}

TEST(FixedSquares, OfNothingOrZerosAreZero) {
  const View1<float> zeros("elastic::test", 10);
  const FixedSquares sum = fixed_squares<float>({zeros}, 0);
  EXPECT_EQ(sum.value(0), 0);
  EXPECT_EQ(sum.count, 10);
  EXPECT_THROW((FixedSquares{0, 0, (index_t(1) << 35) + 1}.value(1)), ContractError);
}

TEST(FixedSquares, OfVerySmallAndLargeNumbers) {
  for (const double x : {1e-160, 1e-150, 1e150}) {
    const auto view = to_device<double>({x, -x, x});
    const double largest = largest_square<double>(ExecutionSpace(), {view});
    EXPECT_NEAR(fixed_squares<double>({view}, largest).value(largest) / (3 * x * x), 1, 1e-8);
  }
}

}  // namespace
}  // namespace elastic::kernels
