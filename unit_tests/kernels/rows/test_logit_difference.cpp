// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/logit_difference.hpp"

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class LogitDifference : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(LogitDifference, Scalars);

TYPED_TEST(LogitDifference, EqualsNaive) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t columns : {1, 5, 333}) {
    const index_t tokens = 7;
    const auto a = strided_random_matrix<T>(tokens, columns, columns + 1, 1),
               b = strided_random_matrix<T>(tokens, columns, columns + 4, 2);
    const auto difference = random_vector<A>(tokens, 3), norm = random_vector<A>(tokens, 4),
               maximum = random_vector<A>(tokens, 5);  // all must be overwritten
    squared_difference<T>(ExecutionSpace(), a, b, difference, norm);
    max_abs_difference<T>(ExecutionSpace(), a, b, maximum);
    const auto x = to_double(a), y = to_double(b);
    std::vector<double> e_difference(tokens), e_norm(tokens), e_maximum(tokens);
    for (index_t t = 0; t < tokens; ++t)
      for (index_t v = 0; v < columns; ++v) {
        const index_t i = t * columns + v;
        e_difference[t] += (x[i] - y[i]) * (x[i] - y[i]);
        e_norm[t] += x[i] * x[i];
        e_maximum[t] = std::max(e_maximum[t], std::abs(x[i] - y[i]));
      }
    EXPECT_TRUE(near(difference, e_difference, tolerance<T>(columns)));
    EXPECT_TRUE(near(norm, e_norm, tolerance<T>(columns)));
    EXPECT_TRUE(near(maximum, e_maximum, tolerance<T>(1)));
  }
}

TYPED_TEST(LogitDifference, OfEqualLogitsIsZero) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto a = random_matrix<T>(4, 50, 1);
  const auto difference = random_vector<A>(4, 2), norm = random_vector<A>(4, 3),
             maximum = random_vector<A>(4, 4);
  squared_difference<T>(ExecutionSpace(), a, clone(a), difference, norm);
  max_abs_difference<T>(ExecutionSpace(), a, clone(a), maximum);
  EXPECT_EQ(to_host(difference), std::vector<A>(4, 0));
  EXPECT_EQ(to_host(maximum), std::vector<A>(4, 0));
  for (const A n : to_host(norm)) EXPECT_GT(n, A(0));
}

/// Wherever it stands in its row, and whatever comes after it.
TYPED_TEST(LogitDifference, NanIsNotPassedOver) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t columns = 20;
  for (const index_t place : {0, 7, 19}) {
    auto values = random_values<T>(2 * columns, 1);
    values[columns + place] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
    const auto a = to_device(values, 2, columns), b = random_matrix<T>(2, columns, 2);
    const View1<A> difference("elastic::test::difference", 2), norm("elastic::test::norm", 2),
        maximum("elastic::test::maximum", 2);
    squared_difference<T>(ExecutionSpace(), a, b, difference, norm);
    max_abs_difference<T>(ExecutionSpace(), b, a, maximum);
    for (const auto& result : each_of(difference, norm, maximum)) {
      EXPECT_TRUE(std::isfinite(to_host(result)[0])) << place;
      EXPECT_TRUE(std::isnan(to_host(result)[1])) << place;
    }
  }
}

TYPED_TEST(LogitDifference, WrongExtentsAreContractErrors) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto a = random_matrix<T>(3, 4, 1), narrow = random_matrix<T>(3, 3, 1);
  const auto good = random_vector<A>(3, 1), bad = random_vector<A>(2, 1);
  const ExecutionSpace exec;
  EXPECT_THROW(squared_difference<T>(exec, a, narrow, good, good), ContractError);
  EXPECT_THROW(squared_difference<T>(exec, a, a, bad, good), ContractError);
  EXPECT_THROW(squared_difference<T>(exec, a, a, good, bad), ContractError);
  EXPECT_THROW(max_abs_difference<T>(exec, a, narrow, good), ContractError);
  EXPECT_THROW(max_abs_difference<T>(exec, a, a, bad), ContractError);
}

}  // namespace
}  // namespace elastic::kernels
