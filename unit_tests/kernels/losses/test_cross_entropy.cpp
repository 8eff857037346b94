// SPDX-License-Identifier: Apache-2.0
// Cross-entropy against its definition, PyTorch and finite differences.
#include "kernels/losses/cross_entropy.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/shards.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

#include <numeric>

namespace elastic::test {
namespace {

template <class T>
class CrossEntropyTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(CrossEntropyTest, Scalars);

std::vector<token_t> random_targets(index_t rows, index_t vocabulary) {
  std::vector<token_t> targets(rows);
  for (index_t t = 0; t < rows; ++t)
    targets[t] = static_cast<token_t>(random_below({4, RandomPurpose::test}, t, vocabulary));
  return targets;
}
template <class T>
View1<Accumulate<T>> new_losses(index_t rows) {
  return random_vector<Accumulate<T>>(rows, 77);  // must be overwritten
}

/// Loss and gradient of one row in double.
double naive_row(const double* logits, index_t V, index_t target, std::vector<double>& gradient) {
  const double maximum = *std::max_element(logits, logits + V);
  double sum = 0;
  for (index_t v = 0; v < V; ++v) sum += std::exp(logits[v] - maximum);
  gradient.resize(V);
  for (index_t v = 0; v < V; ++v)
    gradient[v] = std::exp(logits[v] - maximum) / sum - (v == target ? 1 : 0);
  return std::log(sum) + maximum - logits[target];
}

/// Vocabularies of one element, of odd and of more than one stripe; rows further apart than V.
TYPED_TEST(CrossEntropyTest, EqualsDefinition) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const A factor = A(0.25);
  for (const index_t V : {1, 7, 512, 5003}) {
    const index_t tokens = 6;
    const auto logits = strided_random_matrix<T>(tokens, V, V + 5, 3);
    const auto before = to_double(logits);
    const auto targets = random_targets(tokens, V);
    const auto weight = random_vector<float>(tokens, 5, 0.1, 2);
    const auto w = to_double(weight);
    const auto losses = new_losses<T>(tokens);
    kernels::cross_entropy<T>({}, {to_device(targets), weight}, true, factor, logits, losses);
    std::vector<double> expected_loss, expected_gradient, row;
    for (index_t t = 0; t < tokens; ++t) {
      expected_loss.push_back(w[t] * naive_row(&before[t * V], V, targets[t], row));
      for (const double g : row) expected_gradient.push_back(factor * w[t] * g);
    }
    EXPECT_TRUE(near(losses, expected_loss, tolerance<T>(V))) << "V " << V;
    EXPECT_TRUE(near(logits, expected_gradient, tolerance<T>(16))) << "V " << V;
  }
}

template <class T>
class CrossEntropyOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(CrossEntropyOfPyTorch, ExactScalars);

TYPED_TEST(CrossEntropyOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("losses.h5");
  const auto logits = f.matrix<T>("student");
  const auto losses = new_losses<T>(logits.extent(0));
  kernels::cross_entropy<T>({}, {f.tokens("targets"), f.vector<float>("weight")}, true, 1, logits,
                            losses);
  EXPECT_TRUE(near(losses, f.vector<double>("ce"), tolerance<T>(61)));
  EXPECT_TRUE(near(logits, f.matrix<double>("ce_gradient"), tolerance<T>(61)));
}

/// Where the target is nearly certain its gradient is a small difference, of which no digit may be
/// lost to the rounding of the probability.
TYPED_TEST(CrossEntropyTest, TheGradientOfALikelyTargetIsRoundedOnce) {
  using T = TypeParam;
  const index_t V = 50;
  auto values = random_values<T>(3 * V, 12);
  for (index_t t = 0; t < 3; ++t)
    values[t * V + 10 + t] = T(6 + 4 * t);  // probability up to 1 - e^-10
  const auto logits = to_device(values, 3, V);
  const auto before = to_double(logits);
  kernels::cross_entropy<T>(
      {}, {to_device(std::vector<token_t>{10, 11, 12}), to_device(std::vector<float>{1, 1, 1})},
      true, 1, logits, new_losses<T>(3));
  const auto g = to_double(logits);
  std::vector<double> row;
  for (index_t t = 0; t < 3; ++t) {
    naive_row(&before[t * V], V, 10 + t, row);
    EXPECT_NEAR(g[t * V + 10 + t], row[10 + t],
                tolerance<T>(16) + storage_rounding<T>() * std::abs(row[10 + t]));
  }
}

TEST(CrossEntropy, GradientEqualsFiniteDifferences) {
  const index_t tokens = 5, V = 33;
  const auto logits = random_matrix<double>(tokens, V, 8, -3, 3);
  const auto targets = to_device(random_targets(tokens, V));
  const auto weight = random_vector<float>(tokens, 9, 0, 1);
  const auto losses = new_losses<double>(tokens);
  const auto gradient = clone(logits);
  kernels::cross_entropy<double>({}, {targets, weight}, true, 1, gradient, losses);
  const auto loss = [&] {
    kernels::cross_entropy<double>({}, {targets, weight}, false, 1, logits, losses);
    return dot(losses, std::vector<double>(tokens, 1));
  };
  EXPECT_LT(directional_error(loss, logits, gradient), 1e-6);
}

TYPED_TEST(CrossEntropyTest, RowsOfTheGradientSumToZero) {
  using T = TypeParam;
  const index_t tokens = 4, V = 3000;
  const auto logits = random_matrix<T>(tokens, V, 2, -5, 5);
  const auto losses = new_losses<T>(tokens);
  kernels::cross_entropy<T>(
      {}, {to_device(random_targets(tokens, V)), random_vector<float>(tokens, 1, 1, 2)}, true, 1,
      logits, losses);
  const auto g = to_double(logits);
  for (index_t t = 0; t < tokens; ++t)
    EXPECT_NEAR(std::accumulate(&g[t * V], &g[t * V] + V, 0.0), 0, stored_tolerance<T>(V));
}

TYPED_TEST(CrossEntropyTest, RowsWithoutWeightAreExactZeros) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 3, V = 20;
  auto values = random_values<T>(tokens * V, 6);
  values[V + 3] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
  const auto logits = to_device(values, tokens, V);
  const auto losses = new_losses<T>(tokens);
  kernels::cross_entropy<T>(
      {}, {to_device(std::vector<token_t>{1, -100, 2}), to_device(std::vector<float>{1, 0, 1})},
      true, 1, logits, losses);
  const auto g = to_host(logits);
  EXPECT_EQ(to_host(losses)[1], A(0));
  for (index_t v = 0; v < V; ++v) {
    EXPECT_EQ(g[V + v], T(0));
    EXPECT_NE(g[v], T(0));
  }
}

TYPED_TEST(CrossEntropyTest, LargeLogitsAreStable) {
  using T = TypeParam;
  const index_t V = 40;
  std::vector<T> values(2 * V, T(-1e4));
  values[5] = T(1e4);
  std::fill(values.begin() + V, values.end(), T(1e4));
  const auto logits = to_device(values, 2, V);
  const auto losses = new_losses<T>(2);
  kernels::cross_entropy<T>(
      {}, {to_device(std::vector<token_t>{4, 7}), to_device(std::vector<float>{1, 1})}, true, 1,
      logits, losses);
  EXPECT_TRUE(near(losses, std::vector<double>{2 * static_cast<double>(T(1e4)), std::log(40.0)},
                   tolerance<T>(16)));
  EXPECT_NEAR(to_host(losses)[1], std::log(40.0), tolerance<T>(V));
  const auto g = to_host(logits);
  EXPECT_EQ(g[4], T(-1));
  EXPECT_EQ(g[5], T(1));
  EXPECT_NEAR(static_cast<double>(g[V + 7]), 1.0 / 40 - 1, stored_tolerance<T>(16));
}

TYPED_TEST(CrossEntropyTest, WithoutGradientLogitsStay) {
  using T = TypeParam;
  const auto logits = random_matrix<T>(3, 50, 1), before = clone(logits);
  const auto losses = new_losses<T>(3), again = new_losses<T>(3);
  const auto targets = to_device(std::vector<token_t>{0, 49, 3});
  const auto weight = to_device(std::vector<float>{1, 0, 0.5});
  kernels::cross_entropy<T>({}, {targets, weight}, false, 1, logits, losses);
  EXPECT_TRUE(bitwise_equal(logits, before));
  kernels::cross_entropy<T>({}, {targets, weight}, true, 1, logits, again);
  EXPECT_TRUE(bitwise_equal(losses, again));
}

TYPED_TEST(CrossEntropyTest, BadTargetsAndLogitsGiveNan) {
  using T = TypeParam;
  using A = Accumulate<T>;
  auto values = random_values<T>(3 * 10, 6);
  values[25] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
  const auto losses = new_losses<T>(3);
  kernels::cross_entropy<T>(
      {}, {to_device(std::vector<token_t>{10, -1, 2}), to_device(std::vector<float>{1, 1, 1})},
      true, 1, to_device(values, 3, 10), losses);
  for (const A x : to_host(losses)) EXPECT_TRUE(std::isnan(x));
}

/// What the ranks of a sharded vocabulary leave:
/// gradient of each, row loss of the last, their sums.
template <class T>
struct Staged {
  std::vector<View2<T>> logits;
  View1<Accumulate<T>> losses;
  View2<Accumulate<T>> sums = {};
};
template <class T>
Staged<T> in_stages(const View2<T>& logits, View1<const token_t> targets, View1<const float> weight,
                    bool gradient, Accumulate<T> factor, int ranks) {
  using A = Accumulate<T>;
  const index_t tokens = logits.extent(0);
  Staged<T> result{{}, new_losses<T>(tokens)};
  std::vector<View1<A>> maxima;
  std::vector<View2<A>> sums;
  for (int r = 0; r < ranks; ++r) {
    result.logits.push_back(columns_of(logits, {r, ranks}));
    maxima.push_back(new_losses<T>(tokens));
    sums.push_back(random_matrix<A>(tokens, 2, 5));
    kernels::cross_entropy_maxima<T>({}, {targets, weight}, result.logits[r], maxima[r]);
  }
  const auto maximum = maximum_over_ranks(maxima);
  for (int r = 0; r < ranks; ++r)
    kernels::cross_entropy_sums<T>({}, {targets, weight, {r, ranks}}, result.logits[r], maximum,
                                   sums[r]);
  result.sums = sum_over_ranks(sums);
  for (int r = 0; r < ranks; ++r)
    kernels::cross_entropy_finish<T>({}, {targets, weight, {r, ranks}}, maximum, result.sums,
                                     gradient, factor, result.logits[r], result.losses);
  return result;
}

/// Vocabularies that do and do not fill blocks, more ranks than words, rows without weight.
TYPED_TEST(CrossEntropyTest, RanksGiveTheBitsOfOne) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const A factor = A(0.25);
  for (const index_t V : {1, 5, 16, 512, 5003}) {
    const index_t tokens = 7;
    const auto logits = strided_random_matrix<T>(tokens, V, V + 5, 3);
    const auto targets = to_device(random_targets(tokens, V));
    const auto weight = to_device(std::vector<float>{1, 0.5, 0, 2, 1, 0.1f, 3});
    for (const bool gradient : {false, true})
      for (const int ranks : {1, 2, 3, 4, 8}) {
        SCOPED_TRACE(fmt::format("V {} ranks {} gradient {}", V, ranks, gradient));
        const auto whole = clone(logits);
        const auto losses = new_losses<T>(tokens);
        kernels::cross_entropy<T>({}, {targets, weight}, gradient, factor, whole, losses);
        const auto staged = in_stages<T>(logits, targets, weight, gradient, factor, ranks);
        const auto sums = in_stages<T>(logits, targets, weight, gradient, factor, 1).sums;
        const double tol = ranks == 3 ? tolerance<T>(V) : 0;
        EXPECT_TRUE(near(staged.losses, losses, tol));
        for (int r = 0; r < ranks; ++r)
          EXPECT_TRUE(near(staged.logits[r], columns_of(whole, {r, ranks}), tol)) << "rank " << r;
        if (ranks == 3) continue;
        EXPECT_TRUE(bitwise_equal(staged.sums, sums));
        EXPECT_TRUE(bitwise_equal(staged.losses, losses));
        for (int r = 0; r < ranks; ++r)
          EXPECT_TRUE(bitwise_equal(staged.logits[r], columns_of(whole, {r, ranks})));
      }
  }
}

TYPED_TEST(CrossEntropyTest, BadTargetsGiveNanOnRanksToo) {
  using T = TypeParam;
  const auto logits = random_matrix<T>(3, 10, 1);
  const auto targets = to_device(std::vector<token_t>{10, -1, 9});
  const auto weight = to_device(std::vector<float>{1, 1, 1});
  for (const int ranks : {2, 4}) {
    const auto losses = to_host(in_stages<T>(logits, targets, weight, true, 1, ranks).losses);
    EXPECT_TRUE(std::isnan(losses[0]));
    EXPECT_TRUE(std::isnan(losses[1]));
    EXPECT_FALSE(std::isnan(losses[2]));
  }
}

TEST(CrossEntropy, WrongExtentsAreContractErrors) {
  const auto logits = random_matrix<float>(3, 10, 1);
  EXPECT_THROW(kernels::cross_entropy<float>({},
                                             {View1<token_t>("elastic::test::targets", 2),
                                              View1<float>("elastic::test::weight", 3)},
                                             true, 1, logits, new_losses<float>(3)),
               ContractError);
  EXPECT_THROW(kernels::cross_entropy_sums<float>({},
                                                  {View1<token_t>("elastic::test::targets", 3),
                                                   View1<float>("elastic::test::weight", 3),
                                                   {0, 2}},
                                                  logits, new_losses<float>(3),
                                                  random_matrix<float>(3, 1, 1)),
               ContractError);
}

/// Rows do not see each other: any chunk of the tokens has the bits of all.
TYPED_TEST(CrossEntropyTest, ChunksOfRowsGiveTheBitsOfAll) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 9, V = 300;
  const auto logits = random_matrix<T>(tokens, V, 1), whole = clone(logits);
  const auto targets = to_device(random_targets(tokens, V));
  const auto weight = random_vector<float>(tokens, 2, 0.1, 1);
  const auto losses = new_losses<T>(tokens);
  kernels::cross_entropy<T>({}, {targets, weight}, true, A(0.5), whole, losses);
  for (const auto& [begin, end] : {std::pair<index_t, index_t>{0, 4}, {4, 5}, {5, 9}}) {
    const auto part = clone(rows(logits, begin, end));
    const auto part_losses = new_losses<T>(end - begin);
    const auto range = Range(begin, end);
    kernels::cross_entropy<T>({}, {Kokkos::subview(targets, range), Kokkos::subview(weight, range)},
                              true, A(0.5), part, part_losses);
    EXPECT_TRUE(bitwise_equal(part, clone(rows(whole, begin, end))));
    EXPECT_TRUE(bitwise_equal(part_losses, clone(View1<A>(Kokkos::subview(losses, range)))));
  }
}

TEST(CrossEntropy, NoRowsAreAllowedAndWrongExtentsAreNamed) {
  const auto logits = random_matrix<float>(3, 10, 1);
  const View1<token_t> targets("elastic::test::targets", 3), two("elastic::test::targets", 2);
  const View1<float> weight("elastic::test::weight", 3), four("elastic::test::weight", 4);
  const auto losses = new_losses<float>(3), bad = new_losses<float>(5);
  const kernels::CrossEntropyRows good{targets, weight};
  kernels::cross_entropy<float>({}, {}, true, 1, View2<float>("elastic::test::logits", 0, 10), {});
  const auto loss = [&](const kernels::CrossEntropyRows& rows, const View1<float>& out) {
    return [=] { kernels::cross_entropy<float>({}, rows, true, 1, logits, out); };
  };
  EXPECT_TRUE(refuses(loss({two, weight}, losses), "targets is [2], expected [3]"));
  EXPECT_TRUE(refuses(loss({targets, four}, losses), "weight is [4], expected [3]"));
  EXPECT_TRUE(refuses(loss(good, bad), "row_loss is [5], expected [3]"));
  EXPECT_TRUE(refuses([&] { kernels::cross_entropy_maxima<float>({}, good, logits, bad); },
                      "maximum is [5], expected [3]"));
  EXPECT_TRUE(refuses(
      [&] {
        kernels::cross_entropy_finish<float>({}, good, losses, random_matrix<float>(3, 3, 1), true,
                                             1, logits, losses);
      },
      "sums is [3, 3], expected [3, 2]"));
}

}  // namespace
}  // namespace elastic::test
