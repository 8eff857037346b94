// SPDX-License-Identifier: Apache-2.0
#include "kernels/global_norm.hpp"

#include <limits>

#include "base/error.hpp"
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
    EXPECT_NEAR(sum_of_squares<S>(ExecutionSpace(), {x}), static_cast<double>(squares),
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
  EXPECT_EQ(sum_of_squares<S>(ExecutionSpace(), {x}),
            sum_of_squares<S>(ExecutionSpace(), {clone(x)}));
}

TYPED_TEST(GlobalNorm, UsesTheWorkspaceGiven) {
  using S = TypeParam;
  const auto x = random_vector<S>(50000, 2), y = random_vector<S>(1, 3);
  const View1<double> workspace("elastic::test", norm_workspace(50001, 2));
  EXPECT_EQ(sum_of_squares<S>(ExecutionSpace(), {x}, workspace),
            sum_of_squares<S>(ExecutionSpace(), {x}));
  EXPECT_NE(to_host(workspace)[0], 0);
  EXPECT_EQ(largest_square<S>(ExecutionSpace(), {x, y}, workspace),
            largest_square<S>(ExecutionSpace(), {x, y}));
  EXPECT_THROW(sum<S>(ExecutionSpace(), x, prefix(workspace, 3)), ContractError);
}

TYPED_TEST(GlobalNorm, OfSeveralParts) {
  using S = TypeParam;
  const auto x = random_vector<S>(20000, 4);
  const auto whole = sum_of_squares<S>(ExecutionSpace(), {x});
  const auto cut =
      sum_of_squares<S>(ExecutionSpace(), {prefix(x, 4096), Kokkos::subview(x, Range(4096, 4096)),
                                           Kokkos::subview(x, Range(4096, 20000))});
  EXPECT_EQ(cut, whole);  // cut between blocks
  EXPECT_EQ(sum_of_squares<S>(ExecutionSpace(), Parts<S>{}), 0);
}

template <class S>
FixedSquares fixed_squares(const Parts<S>& parts, double largest) {
  return sum_of_squares_fixed<S>(ExecutionSpace(), parts, largest);
}
template <class S>
void expect_same(const FixedSquares& a, const FixedSquares& b) {
  EXPECT_EQ(a.high, b.high);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.count, b.count);
}

TYPED_TEST(GlobalNorm, FixedSquaresHaveTheSameBitsInAnyOrder) {
  using S = TypeParam;
  const index_t n = 30011;
  auto values = random_values<S>(n, 5);
  for (index_t i = 0; i < n; ++i) values[i] *= i % 5 == 0 ? S(1e-4) : S(37);
  const auto x = to_device(values);
  const double largest = largest_square<S>(ExecutionSpace(), {x});
  const FixedSquares whole = fixed_squares<S>({x}, largest);

  std::reverse(values.begin(), values.end());
  expect_same<S>(fixed_squares<S>({to_device(values)}, largest), whole);
  for (const index_t cut : {1, 4096, 12345}) {
    const View1<S> front = prefix(x, cut), back = Kokkos::subview(x, Range(cut, n));
    expect_same<S>(fixed_squares<S>({back, front}, largest), whole);
    const FixedSquares a = fixed_squares<S>({front}, largest),
                       b = fixed_squares<S>({back}, largest);
    expect_same<S>({a.high + b.high, a.low + b.low, a.count + b.count}, whole);
  }
}

TYPED_TEST(GlobalNorm, FixedSquaresKeepTheirErrorBound) {
  using S = TypeParam;
  for (const double scale : {1.0, 3e-12, 5e9})
    for (const double small : {1.0, 1e-5}) {  // all alike; one large element beside small ones
      const index_t n = 100003;
      auto values = random_values<S>(n, 6);
      for (auto& value : values) value *= static_cast<S>(scale * small);
      values[777] = static_cast<S>(1.3 * scale);
      long double exact = 0;
      for (const double value : values) exact += static_cast<long double>(value) * value;
      const auto x = to_device(values);
      const double largest = largest_square<S>(ExecutionSpace(), {x});
      EXPECT_EQ(largest, static_cast<double>(values[777]) * values[777]);
      const double sum = fixed_squares<S>({x}, largest).value(largest);
      EXPECT_LE(std::abs(sum - static_cast<double>(exact)),
                n * 0x1p-55 * largest + 0x1p-52 * static_cast<double>(exact));
    }
}

TYPED_TEST(GlobalNorm, LargestSquareSeesWhatIsNotFinite) {
  using S = TypeParam;
  using Limits = std::numeric_limits<S>;
  EXPECT_EQ(largest_square<S>(ExecutionSpace(), Parts<S>{}), 0);
  EXPECT_EQ(largest_square<S>(ExecutionSpace(), {to_device<S>({S(-3), S(2)}), View1<S>()}), 9);
  for (const S bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    auto values = random_values<S>(9000, 7);
    values[8999] = bad;
    EXPECT_EQ(largest_square<S>(ExecutionSpace(), {random_vector<S>(10, 8), to_device(values)}),
              std::numeric_limits<double>::infinity());
  }
  EXPECT_THROW(fixed_squares<S>({}, std::numeric_limits<double>::infinity()), ContractError);
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
