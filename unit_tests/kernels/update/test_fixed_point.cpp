// SPDX-License-Identifier: Apache-2.0
// Sums as integers: permuted and split sums have the same bits, and nothing overflows unseen.
#include "kernels/update/fixed_point.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class FixedPoint : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(FixedPoint, Scalars);

const ExecutionSpace exec() { return {}; }
View1<index_t> zeros(index_t n) { return View1<index_t>("elastic::test", n); }

TYPED_TEST(FixedPoint, RoundsToTheNearestUnit) {
  using T = TypeParam;
  const double unit = 0x1p-40;
  const auto x = to_device<T>({T(1), T(-1), T(3 * unit), T(0.25 * unit), T(0.75 * unit),
                               T(-0.75 * unit), T(-0.0), T(1000.5)});
  const auto sum = zeros(8), overflow = zeros(1);
  const index_t one = index_t(1) << 40;
  accumulate_fixed_point<T>(exec(), x, fixed_point_limit(1), sum, overflow);
  EXPECT_EQ(to_host(sum), (std::vector<index_t>{one, -one, 3, 0, 1, -1, 0, 1000 * one + one / 2}));
  EXPECT_EQ(to_host(overflow)[0], 0);
  const View1<T> back("elastic::test", 8);
  add_fixed_point<T>(exec(), sum, back);
  EXPECT_EQ(to_host(back),
            (std::vector<T>{1, -1, T(3 * unit), 0, T(unit), T(-unit), 0, T(1000.5)}));
}

TYPED_TEST(FixedPoint, AnyOrderAndGroupingGivesTheSameBits) {
  using T = TypeParam;
  const index_t n = 5003, terms = 12;
  const auto total = [&](const std::vector<index_t>& order, int ranks) {
    // Term i goes to rank i mod ranks in the order given; the ranks are added last.
    std::vector<index_t> all(n, 0);
    for (int rank = 0; rank < ranks; ++rank) {
      const auto sum = zeros(n), overflow = zeros(1);
      for (std::size_t i = rank; i < order.size(); i += ranks)
        accumulate_fixed_point<T>(exec(), random_vector<T>(n, order[i], -1e3, 1e3),
                                  fixed_point_limit(ranks), sum, overflow);
      EXPECT_EQ(to_host(overflow)[0], 0);
      const auto h_sum = to_host(sum);
      for (index_t i = 0; i < n; ++i) all[i] += h_sum[i];
    }
    return all;
  };
  std::vector<index_t> order(terms);
  std::iota(order.begin(), order.end(), 1);
  const auto expected = total(order, 1);
  for (const int ranks : {2, 3, 8}) EXPECT_EQ(total(order, ranks), expected);
  std::reverse(order.begin(), order.end());
  EXPECT_EQ(total(order, 1), expected);

  std::vector<double> exact(n, 0);
  for (const index_t term : order) {
    const auto x = to_double(random_vector<T>(n, term, -1e3, 1e3));
    for (index_t i = 0; i < n; ++i) exact[i] += x[i];
  }
  const View1<double> sum("elastic::test", n);
  add_fixed_point<double>(exec(), to_device(expected), sum);
  EXPECT_TRUE(near(sum, exact, 1e-14));
}

TYPED_TEST(FixedPoint, TellsWhatDoesNotFit) {
  using T = TypeParam;
  const double limit = fixed_point_limit(4);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity(), limit, -limit, 1e30}) {
    auto values = random_values<T>(3001, 1);
    values[2777] = static_cast<T>(bad);
    const auto sum = zeros(3001), overflow = zeros(1);
    const auto x = to_device(values);
    accumulate_fixed_point<T>(exec(), x, limit, sum, overflow);
    EXPECT_EQ(to_host(overflow)[0], 1) << bad;
    EXPECT_EQ(to_host(sum)[2777], 0) << bad;
    EXPECT_NE(to_host(sum)[2776], 0) << bad;
    EXPECT_TRUE(std::isnan(to_host(x)[2777])) << bad;
    EXPECT_EQ(to_host(x)[2776], 0) << bad;
    add_fixed_point<T>(exec(), sum, x);
    EXPECT_TRUE(std::isnan(to_host(x)[2777])) << "forgotten where it was";
    accumulate_fixed_point<T>(exec(), random_vector<T>(3001, 2), limit, sum, overflow);
    EXPECT_EQ(to_host(overflow)[0], 1) << "forgotten";
  }
}

TYPED_TEST(FixedPoint, TellsWhenASumGrowsTooLarge) {
  using T = TypeParam;
  for (const int sign : {1, -1}) {
    const auto sum = zeros(1), overflow = zeros(1);
    for (const index_t flag : {0, 0, 1, 1, 1, 1}) {
      const auto x = to_device<T>({T(sign * 0.4 * fixed_point_limit(1))});
      accumulate_fixed_point<T>(exec(), x, fixed_point_limit(1), sum, overflow);
      EXPECT_EQ(to_host(overflow)[0], flag);
    }
    EXPECT_LT(std::abs(to_host(sum)[0]), index_t(1) << 62);
  }
}

TYPED_TEST(FixedPoint, RefusesOtherExtents) {
  using T = TypeParam;
  const View1<T> x("elastic::test", 3);
  EXPECT_THROW(accumulate_fixed_point<T>(exec(), x, 1, zeros(2), zeros(1)), ContractError);
  EXPECT_THROW(accumulate_fixed_point<T>(exec(), x, 1, zeros(3), zeros(0)), ContractError);
  EXPECT_THROW(accumulate_fixed_point<T>(exec(), x, 1e9, zeros(3), zeros(1)), ContractError);
  EXPECT_THROW(add_fixed_point<T>(exec(), zeros(2), x), ContractError);
}

TEST(FixedPointSum, IsExactInUnitsAndIndependentOfOrder) {
  const auto x = random_values<double>(1000, 3, -1e5, 1e5);
  FixedPointSum forward, backward, left, right;
  double exact = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    forward.add(x[i]);
    backward.add(x[x.size() - 1 - i]);
    (i % 3 == 0 ? left : right).add(x[i]);
    exact += x[i];
  }
  EXPECT_EQ(forward.units, backward.units);
  EXPECT_EQ(forward.units, left.units + right.units);
  EXPECT_NEAR(forward.value(), exact, 1000 * 0x1p-31);
}

TEST(FixedPointSum, HasNoValueAfterATermThatDoesNotFit) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL, 0x1p28, -0x1p28}) {
    FixedPointSum sum;
    sum.add(1.5);
    EXPECT_EQ(sum.value(), 1.5);
    sum.add(bad);
    sum.add(1);
    EXPECT_TRUE(std::isnan(sum.value())) << bad;
  }
  FixedPointSum grows;
  for (int i = 0; i < 3; ++i) grows.add(0x1p27 - 1);
  EXPECT_EQ(grows.invalid, 1);
  EXPECT_LT(grows.units, index_t(1) << 58);
}

}  // namespace
}  // namespace elastic::kernels
