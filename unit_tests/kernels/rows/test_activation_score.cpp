// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/activation_score.hpp"

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class ActivationScore : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(ActivationScore, Scalars);

TYPED_TEST(ActivationScore, EqualsNaive) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t batch = 5, length = 30, width = 1300;  // more than one piece of columns
  const auto x = strided_random_matrix<T>(batch * length, width, width + 3, 1);
  const auto score = random_vector<A>(width, 2), sum = random_vector<A>(width, 3);
  auto e_score = to_double(score), e_sum = to_double(sum);
  const auto values = to_double(x);
  for (index_t c = 0; c < width; ++c)
    for (index_t b = 0; b < batch; ++b) {
      double mean = 0;
      for (index_t t = 0; t < length; ++t) mean += std::abs(values[(b * length + t) * width + c]);
      e_sum[c] += mean;
      e_score[c] += mean / length * (mean / length);
    }
  activation_score<T>(ExecutionSpace(), x, length, score);
  activation_sum<T>(ExecutionSpace(), x, sum);
  EXPECT_TRUE(near(score, e_score, tolerance<T>(length)));
  EXPECT_TRUE(near(sum, e_sum, tolerance<T>(batch * length)));
}

TYPED_TEST(ActivationScore, ChunksOfSequencesAddUp) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto x = random_matrix<T>(6 * 10, 17, 1);
  const View1<A> whole("elastic::test::whole", 17), parts("elastic::test::parts", 17);
  activation_score<T>(ExecutionSpace(), x, 10, whole);
  activation_score<T>(ExecutionSpace(), rows(x, 0, 20), 10, parts);
  activation_score<T>(ExecutionSpace(), rows(x, 20, 60), 10, parts);
  EXPECT_TRUE(bitwise_equal(whole, parts));
}

TYPED_TEST(ActivationScore, TokensCountByTheirShares) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t batch = 3, length = 30, width = 70;
  const auto x = random_matrix<T>(batch * length, width, 1);
  const auto share = random_vector<float>(batch * length, 4);
  const auto score = random_vector<A>(width, 2), sum = random_vector<A>(width, 3);
  auto e_score = to_double(score), e_sum = to_double(sum);
  const auto values = to_double(x), shares = to_double(share);
  for (index_t c = 0; c < width; ++c)
    for (index_t b = 0; b < batch; ++b) {
      double mean = 0;
      for (index_t t = b * length; t < (b + 1) * length; ++t)
        mean += shares[t] * std::abs(values[t * width + c]);
      e_sum[c] += mean;
      e_score[c] += mean * mean;
    }
  activation_score<T>(ExecutionSpace(), x, length, score, share);
  activation_sum<T>(ExecutionSpace(), x, sum, share);
  EXPECT_TRUE(near(score, e_score, tolerance<T>(batch * length)));
  EXPECT_TRUE(near(sum, e_sum, tolerance<T>(batch * length)));
  EXPECT_THROW(
      activation_score<T>(ExecutionSpace(), x, length, score, random_vector<float>(length, 4)),
      ContractError);
}

TYPED_TEST(ActivationScore, RejectsBrokenSequences) {
  using T = TypeParam;
  using A = Accumulate<T>;
  EXPECT_THROW(
      activation_score<T>(ExecutionSpace(), random_matrix<T>(25, 3, 1), 10, random_vector<A>(3, 1)),
      ContractError);
}

/// The score does not look at signs, and a channel that is twice as active has four times the
/// score.
TYPED_TEST(ActivationScore, GrowsWithTheSquareOfTheActivation) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t rows_ = 40;
  std::vector<T> values;
  for (const T x : random_values<T>(rows_, 1)) {
    const A v = widen(x);
    values.insert(values.end(), {x, static_cast<T>(-v), static_cast<T>(2 * v)});
  }
  const View1<A> score("elastic::test::score", 3), sum("elastic::test::sum", 3);
  activation_score<T>(ExecutionSpace(), to_device(values, rows_, 3), 10, score);
  activation_sum<T>(ExecutionSpace(), to_device(values, rows_, 3), sum);
  const auto s = to_host(score), a = to_host(sum);
  EXPECT_EQ(s[1], s[0]);
  EXPECT_EQ(s[2], 4 * s[0]);
  EXPECT_EQ(a[1], a[0]);
  EXPECT_EQ(a[2], 2 * a[0]);
}

}  // namespace
}  // namespace elastic::kernels
