// SPDX-License-Identifier: Apache-2.0
#include "kernels/losses/gumbel_softmax.hpp"

#include "base/error.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class GumbelSoftmax : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(GumbelSoftmax, Scalars);

GumbelSoftmaxParams noisy(double scale, double tau, std::uint64_t stream = 5) {
  return {scale, tau, true, {7, RandomPurpose::gumbel_noise, stream}};
}

template <class T>
class GumbelSoftmaxOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(GumbelSoftmaxOfPyTorch, ExactScalars);

TYPED_TEST(GumbelSoftmaxOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("dense_kernels.h5");
  GumbelSoftmaxParams params;
  params.logit_scale = f.scalar("gumbel_softmax/logit_scale");
  params.tau = f.scalar("gumbel_softmax/tau");
  params.noise = false;
  const auto z = f.matrix<T>("gumbel_softmax/z");
  const View2<T> pi("elastic::test::pi", z.extent(0), z.extent(1)),
      dz("elastic::test::dz", z.extent(0), z.extent(1));
  gumbel_softmax_forward<T>(ExecutionSpace(), z, params, pi);
  gumbel_softmax_backward<T>(ExecutionSpace(), f.matrix<T>("gumbel_softmax/dpi"), pi, params, dz);
  EXPECT_TRUE(near(pi, f.matrix<double>("gumbel_softmax/pi"), tolerance<T>(z.extent(1))));
  EXPECT_TRUE(near(dz, f.matrix<double>("gumbel_softmax/dz"),
                   4 * tolerance<T>(z.extent(1))));  // multiplied by s / tau
}

TYPED_TEST(GumbelSoftmax, EqualsNaiveWithNoise) {
  using T = TypeParam;
  const auto params = noisy(2, 0.5);
  const auto z = random_matrix<T>(4, 3, 1);
  const View2<T> pi("elastic::test::pi", 4, 3);
  gumbel_softmax_forward<T>(ExecutionSpace(), z, params, pi);
  const auto values = to_double(z);
  std::vector<double> expected(12);
  for (index_t row = 0; row < 4; ++row) {
    double sum = 0;
    for (index_t i = row * 3; i < row * 3 + 3; ++i) {
      const double g = -std::log(-std::log(random_uniform(params.key, i)));
      sum += expected[i] = std::exp((2 * values[i] + g) / 0.5);
    }
    for (index_t i = row * 3; i < row * 3 + 3; ++i) expected[i] /= sum;
  }
  EXPECT_TRUE(near(pi, expected, tolerance<T>(3)));
}

TYPED_TEST(GumbelSoftmax, GradientsEqualNaive) {
  using T = TypeParam;
  const GumbelSoftmaxParams params{3, 0.7};
  const auto pi = random_matrix<T>(5, 4, 1, 0, 0.5), dpi = random_matrix<T>(5, 4, 2),
             dz = random_matrix<T>(5, 4, 3);
  const auto p = to_double(pi), v = to_double(dpi);
  auto expected = to_double(dz);
  for (index_t row = 0; row < 20; row += 4) {
    double mean = 0;
    for (index_t i = row; i < row + 4; ++i) mean += v[i] * p[i];
    for (index_t i = row; i < row + 4; ++i) expected[i] += 3 / 0.7 * p[i] * (v[i] - mean);
  }
  gumbel_softmax_backward<T>(ExecutionSpace(), dpi, pi, params, dz);
  EXPECT_TRUE(near(dz, expected, tolerance<T>(4)));
}

TEST(GumbelSoftmaxGradient, EqualsFiniteDifferences) {
  const auto params = noisy(3, 0.7);
  const auto z = random_matrix<double>(5, 4, 1), dpi = random_matrix<double>(5, 4, 2);
  const View2<double> pi("elastic::test::pi", 5, 4), dz("elastic::test::dz", 5, 4);
  const auto loss = [&] {
    gumbel_softmax_forward<double>(ExecutionSpace(), z, params, pi);
    return dot(pi, dpi);
  };
  loss();
  gumbel_softmax_backward<double>(ExecutionSpace(), dpi, pi, params, dz);
  EXPECT_LT(directional_error(loss, z, dz), 1e-6);
}

// The Gumbel-max property:
// the largest entry is choice i with probability softmax_i(s z), for any tau.
TEST(GumbelSoftmaxNoise, DrawsChoicesWithTheirProbability) {
  const index_t draws = 20000;
  const std::vector<double> logits = {0.3, -0.2, 0.9};
  std::vector<double> all;
  for (index_t i = 0; i < draws; ++i) all.insert(all.end(), logits.begin(), logits.end());
  const View2<double> pi("elastic::test::pi", draws, 3);
  gumbel_softmax_forward<double>(ExecutionSpace(), to_device(all, draws, 3), noisy(1.5, 0.05), pi);
  const auto values = to_host(pi);
  std::vector<double> frequency(3), probability(3);
  double total = 0;
  for (index_t i = 0; i < draws; ++i)
    frequency[std::max_element(&values[3 * i], &values[3 * i] + 3) - &values[3 * i]] += 1.0 / draws;
  for (int i = 0; i < 3; ++i) total += probability[i] = std::exp(1.5 * logits[i]);
  for (double& p : probability) p /= total;
  const double four_sigma = 4 * std::sqrt(0.25 / draws);
  EXPECT_TRUE(near(frequency, probability, four_sigma));
}

TYPED_TEST(GumbelSoftmax, LargeLogitsAndSmallTauStayFinite) {
  using T = TypeParam;
  const auto z = random_matrix<T>(10, 6, 1, -50, 50);
  const View2<T> pi("elastic::test::pi", 10, 6);
  gumbel_softmax_forward<T>(ExecutionSpace(), z, noisy(10, 0.05), pi);
  const auto values = to_host(pi);
  for (index_t row = 0; row < 10; ++row) {
    double sum = 0;
    for (index_t i = 0; i < 6; ++i) sum += static_cast<double>(values[row * 6 + i]);
    EXPECT_NEAR(sum, 1, stored_tolerance<T>(6));
  }
}

TYPED_TEST(GumbelSoftmax, StreamsDifferAndTauMustBePositive) {
  using T = TypeParam;
  const auto z = random_matrix<T>(2, 3, 1);
  const View2<T> a("elastic::test::a", 2, 3), b("elastic::test::b", 2, 3);
  gumbel_softmax_forward<T>(ExecutionSpace(), z, noisy(1, 1, 1), a);
  gumbel_softmax_forward<T>(ExecutionSpace(), z, noisy(1, 1, 2), b);
  EXPECT_FALSE(bitwise_equal(a, b));
  EXPECT_THROW(gumbel_softmax_forward<T>(ExecutionSpace(), z, noisy(1, 0), a), ContractError);
}

TYPED_TEST(GumbelSoftmax, ProbabilitiesSumToOneAndGradientsToZero) {
  using T = TypeParam;
  const index_t rows = 20, choices = 7;
  const auto z = random_matrix<T>(rows, choices, 1), dpi = random_matrix<T>(rows, choices, 2);
  const View2<T> pi("elastic::test::pi", rows, choices), dz("elastic::test::dz", rows, choices);
  const GumbelSoftmaxParams params{3, 0.7, true, {5, RandomPurpose::gumbel_noise, 9}};
  gumbel_softmax_forward<T>(ExecutionSpace(), z, params, pi);
  gumbel_softmax_backward<T>(ExecutionSpace(), dpi, pi, params, dz);
  const auto p = to_double(pi), g = to_double(dz);
  for (index_t i = 0; i < rows; ++i) {
    double sum = 0, gradient = 0;
    for (index_t c = 0; c < choices; ++c) {
      sum += p[i * choices + c];
      gradient += g[i * choices + c];
    }
    EXPECT_NEAR(sum, 1, stored_tolerance<T>(choices));
    EXPECT_NEAR(gradient, 0, 10 * stored_tolerance<T>(choices));
  }
}

TYPED_TEST(GumbelSoftmax, GradientsAccumulateAndWrongExtentsAreNamed) {
  using T = TypeParam;
  const ExecutionSpace exec;
  const auto pi = random_matrix<T>(3, 4, 1, 0.1, 0.4), dpi = random_matrix<T>(3, 4, 2),
             bad = random_matrix<T>(3, 5, 3);
  const View2<T> once("elastic::test::once", 3, 4), twice("elastic::test::twice", 3, 4);
  gumbel_softmax_backward<T>(exec, dpi, pi, {}, once);
  for (int i = 0; i < 2; ++i) gumbel_softmax_backward<T>(exec, dpi, pi, {}, twice);
  auto doubled = to_double(once);
  for (double& value : doubled) value *= 2;
  EXPECT_TRUE(near(twice, doubled, tolerance<T>(1)));
  EXPECT_TRUE(refuses([&] { gumbel_softmax_forward<T>(exec, pi, {}, bad); },
                      "pi is [3, 5], expected [3, 4]"));
  EXPECT_TRUE(
      refuses([&] { gumbel_softmax_backward<T>(exec, bad, pi, {}, once); }, "dpi is [3, 5]"));
  EXPECT_TRUE(refuses([&] { gumbel_softmax_backward<T>(exec, dpi, pi, {}, bad); }, "dz is [3, 5]"));
}

}  // namespace
}  // namespace elastic::kernels
