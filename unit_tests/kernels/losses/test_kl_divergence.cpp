// SPDX-License-Identifier: Apache-2.0
// Forward KL divergence against its definition, PyTorch and finite differences.
#include "kernels/losses/kl_divergence.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/shards.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::test {
namespace {

template <class T>
class KlDivergenceTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(KlDivergenceTest, Scalars);

template <class T>
View1<Accumulate<T>> new_losses(index_t rows) {
  return random_vector<Accumulate<T>>(rows, 77);  // must be overwritten
}
View1<float> ones(index_t rows) { return to_device(std::vector<float>(rows, 1)); }

std::vector<double> naive_log_softmax(const double* logits, index_t V, double temperature) {
  const double maximum = *std::max_element(logits, logits + V);
  double sum = 0;
  for (index_t v = 0; v < V; ++v) sum += std::exp((logits[v] - maximum) / temperature);
  std::vector<double> result(V);
  for (index_t v = 0; v < V; ++v) result[v] = (logits[v] - maximum) / temperature - std::log(sum);
  return result;
}

/// Vocabularies of one element, of odd and of more than one stripe; rows further apart than V.
TYPED_TEST(KlDivergenceTest, EqualsDefinition) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const A factor = A(0.5);
  for (const index_t V : {1, 7, 512, 5003})
    for (const double temperature : {1.0, 2.5}) {
      const index_t tokens = 4;
      const auto teacher = strided_random_matrix<T>(tokens, V, V + 2, 3);
      const auto student = strided_random_matrix<T>(tokens, V, V + 5, 4);
      const auto before_p = to_double(teacher), before_q = to_double(student);
      const auto weight = random_vector<float>(tokens, 5, 0.1, 2);
      const auto w = to_double(weight);
      const auto losses = new_losses<T>(tokens);
      kernels::kl_divergence<T>({}, {teacher, weight, temperature}, true, factor, student, losses);
      std::vector<double> expected_loss(tokens, 0), expected_gradient;
      for (index_t t = 0; t < tokens; ++t) {
        const auto log_p = naive_log_softmax(&before_p[t * V], V, temperature);
        const auto log_q = naive_log_softmax(&before_q[t * V], V, temperature);
        for (index_t v = 0; v < V; ++v) {
          const double p = std::exp(log_p[v]), q = std::exp(log_q[v]);
          expected_loss[t] += w[t] * p * (log_p[v] - log_q[v]);
          expected_gradient.push_back(factor * w[t] * (q - p) / temperature);
        }
      }
      EXPECT_TRUE(near(losses, expected_loss, tolerance<T>(V))) << "V " << V;
      EXPECT_TRUE(near(student, expected_gradient, tolerance<T>(16))) << "V " << V;
      EXPECT_TRUE(near(teacher, before_p, 0));
    }
}

template <class T>
class KlDivergenceOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(KlDivergenceOfPyTorch, ExactScalars);

TYPED_TEST(KlDivergenceOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("losses.h5");
  const auto student = f.matrix<T>("student");
  const auto losses = new_losses<T>(student.extent(0));
  kernels::kl_divergence<T>(
      {}, {f.matrix<T>("teacher"), f.vector<float>("weight"), f.scalar("temperature")}, true, 1,
      student, losses);
  EXPECT_TRUE(near(losses, f.vector<double>("kl"), tolerance<T>(61)));
  EXPECT_TRUE(near(student, f.matrix<double>("kl_gradient"), tolerance<T>(61)));
}

TEST(KlDivergence, GradientEqualsFiniteDifferences) {
  const index_t tokens = 5, V = 33;
  const auto teacher = random_matrix<double>(tokens, V, 7, -3, 3);
  const auto student = random_matrix<double>(tokens, V, 8, -3, 3);
  const auto weight = random_vector<float>(tokens, 9, 0, 1);
  const auto losses = new_losses<double>(tokens);
  const auto gradient = clone(student);
  kernels::kl_divergence<double>({}, {teacher, weight, 1.5}, true, 1, gradient, losses);
  const auto loss = [&] {
    kernels::kl_divergence<double>({}, {teacher, weight, 1.5}, false, 1, student, losses);
    return dot(losses, std::vector<double>(tokens, 1));
  };
  EXPECT_LT(directional_error(loss, student, gradient), 1e-6);
}

TYPED_TEST(KlDivergenceTest, OfEqualDistributionsIsExactlyZero) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto teacher = random_matrix<T>(3, 700, 7, -9, 9), student = clone(teacher);
  const auto losses = new_losses<T>(3);
  kernels::kl_divergence<T>({}, {teacher, ones(3), 2}, true, 1, student, losses);
  for (const A x : to_host(losses)) EXPECT_EQ(x, A(0));
  for (const T x : to_host(student)) EXPECT_EQ(x, T(0));
}

TYPED_TEST(KlDivergenceTest, IsNotNegative) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t V = 900;
  const auto p = random_values<T>(V, 7, -4, 4);
  for (const double distance : {1e-6, 1e-3, 0.1, 3.0}) {
    auto q = p;
    const auto shift = random_values<T>(V, 8, -distance, distance);
    for (index_t v = 0; v < V; ++v) q[v] = static_cast<T>(widen(q[v]) + widen(shift[v]));
    const auto losses = new_losses<T>(1);
    kernels::kl_divergence<T>({}, {to_device(p, 1, V), ones(1)}, false, 1, to_device(q, 1, V),
                              losses);
    EXPECT_GE(to_host(losses)[0], -distance * tolerance<T>(V) - tolerance<T>(16)) << distance;
    if (distance >= 0.1) {
      EXPECT_GT(to_host(losses)[0], A(0));
    }
  }
}

TYPED_TEST(KlDivergenceTest, RowsWithoutWeightAreExactZeros) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 3, V = 20;
  auto values = random_values<T>(tokens * V, 6);
  values[V + 3] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
  const auto student = to_device(values, tokens, V);
  const auto losses = new_losses<T>(tokens);
  kernels::kl_divergence<T>(
      {}, {random_matrix<T>(tokens, V, 1), to_device(std::vector<float>{1, 0, 1})}, true, 1,
      student, losses);
  const auto g = to_host(student);
  EXPECT_EQ(to_host(losses)[1], A(0));
  for (index_t v = 0; v < V; ++v) {
    EXPECT_EQ(g[V + v], T(0));
    EXPECT_NE(g[v], T(0));
  }
}

TYPED_TEST(KlDivergenceTest, LargeLogitsAreStable) {
  using T = TypeParam;
  const index_t V = 40;
  std::vector<T> p(V, T(-1e4)), q(V, T(1e4));
  p[5] = T(1e4);
  const auto student = to_device(q, 1, V);
  const auto losses = new_losses<T>(1);
  kernels::kl_divergence<T>({}, {to_device(p, 1, V), ones(1)}, true, 1, student, losses);
  EXPECT_NEAR(to_host(losses)[0], std::log(40.0), tolerance<T>(V));
  EXPECT_NEAR(to_double(student)[5], 1.0 / 40 - 1, stored_tolerance<T>(16));
  EXPECT_NEAR(to_double(student)[6], 1.0 / 40, stored_tolerance<T>(16) / 40);
}

TYPED_TEST(KlDivergenceTest, WithoutGradientStudentStays) {
  using T = TypeParam;
  const auto teacher = random_matrix<T>(3, 50, 2);
  const auto student = random_matrix<T>(3, 50, 1), before = clone(student);
  const auto losses = new_losses<T>(3), again = new_losses<T>(3);
  const auto weight = to_device(std::vector<float>{1, 0, 0.5});
  kernels::kl_divergence<T>({}, {teacher, weight, 1}, false, 1, student, losses);
  EXPECT_TRUE(bitwise_equal(student, before));
  kernels::kl_divergence<T>({}, {teacher, weight, 1}, true, 1, student, again);
  EXPECT_TRUE(bitwise_equal(losses, again));
}

/// What the ranks of a sharded vocabulary leave:
/// gradient of each, row loss of the last, their sums.
template <class T>
struct Staged {
  std::vector<View2<T>> student;
  View1<Accumulate<T>> losses;
  View2<Accumulate<T>> sums = {};
};
template <class T>
Staged<T> in_stages(const View2<T>& teacher, const View2<T>& student, View1<const float> weight,
                    double temperature, bool gradient, Accumulate<T> factor, int ranks) {
  using A = Accumulate<T>;
  const index_t tokens = student.extent(0);
  Staged<T> result{{}, new_losses<T>(tokens)};
  std::vector<View2<T>> teachers;
  std::vector<View2<A>> maxima, sums;
  for (int r = 0; r < ranks; ++r) {
    teachers.push_back(columns_of(teacher, {r, ranks}));
    result.student.push_back(columns_of(student, {r, ranks}));
    maxima.push_back(random_matrix<A>(tokens, 2, 5));
    sums.push_back(random_matrix<A>(tokens, 3, 5));
    kernels::kl_divergence_maxima<T>({}, {teachers[r], weight}, result.student[r], maxima[r]);
  }
  const auto maximum = maximum_over_ranks(maxima);
  for (int r = 0; r < ranks; ++r)
    kernels::kl_divergence_sums<T>({}, {teachers[r], weight, temperature, {r, ranks}},
                                   result.student[r], maximum, sums[r]);
  result.sums = sum_over_ranks(sums);
  for (int r = 0; r < ranks; ++r)
    kernels::kl_divergence_finish<T>({}, {teachers[r], weight, temperature, {r, ranks}}, maximum,
                                     result.sums, gradient, factor, result.student[r],
                                     result.losses);
  return result;
}

/// Vocabularies that do and do not fill blocks, more ranks than words, rows without weight.
TYPED_TEST(KlDivergenceTest, RanksGiveTheBitsOfOne) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const A factor = A(0.25);
  for (const index_t V : {1, 5, 16, 512, 5003}) {
    const index_t tokens = 5;
    const auto teacher = strided_random_matrix<T>(tokens, V, V + 2, 3),
               student = strided_random_matrix<T>(tokens, V, V + 5, 4);
    const auto weight = to_device(std::vector<float>{1, 0.5, 0, 2, 0.1f});
    for (const bool gradient : {false, true})
      for (const int ranks : {1, 2, 3, 4, 8}) {
        SCOPED_TRACE(fmt::format("V {} ranks {} gradient {}", V, ranks, gradient));
        const auto whole = clone(student);
        const auto losses = new_losses<T>(tokens);
        kernels::kl_divergence<T>({}, {teacher, weight, 1.5}, gradient, factor, whole, losses);
        const auto staged = in_stages<T>(teacher, student, weight, 1.5, gradient, factor, ranks);
        const auto sums = in_stages<T>(teacher, student, weight, 1.5, gradient, factor, 1).sums;
        const double tol = ranks == 3 ? tolerance<T>(V) : 0;
        EXPECT_TRUE(near(staged.losses, losses, tol));
        for (int r = 0; r < ranks; ++r)
          EXPECT_TRUE(near(staged.student[r], columns_of(whole, {r, ranks}), tol)) << "rank " << r;
        if (ranks == 3) continue;
        EXPECT_TRUE(bitwise_equal(staged.sums, sums));
        EXPECT_TRUE(bitwise_equal(staged.losses, losses));
        for (int r = 0; r < ranks; ++r)
          EXPECT_TRUE(bitwise_equal(staged.student[r], columns_of(whole, {r, ranks})));
      }
  }
}

TEST(KlDivergence, WrongArgumentsAreContractErrors) {
  const auto logits = random_matrix<float>(3, 10, 1), other = random_matrix<float>(3, 11, 1);
  const auto losses = new_losses<float>(3);
  EXPECT_THROW(kernels::kl_divergence<float>({}, {other, ones(3)}, true, 1, logits, losses),
               ContractError);
  EXPECT_THROW(
      kernels::kl_divergence<float>({}, {logits, ones(3), 0}, true, 1, clone(logits), losses),
      ContractError);
  EXPECT_THROW(kernels::kl_divergence_maxima<float>({}, {logits, ones(3)}, logits,
                                                    random_matrix<float>(3, 1, 1)),
               ContractError);
}

TYPED_TEST(KlDivergenceTest, ChunksOfRowsGiveTheBitsOfAll) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 7, V = 300;
  const auto teacher = random_matrix<T>(tokens, V, 1), student = random_matrix<T>(tokens, V, 2),
             whole = clone(student);
  const auto losses = new_losses<T>(tokens);
  kernels::kl_divergence<T>({}, {teacher, ones(tokens), 1.5}, true, A(0.5), whole, losses);
  for (const auto& [begin, end] : {std::pair<index_t, index_t>{0, 3}, {3, 4}, {4, 7}}) {
    const auto part = clone(rows(student, begin, end));
    const auto part_losses = new_losses<T>(end - begin);
    kernels::kl_divergence<T>({}, {rows(teacher, begin, end), ones(end - begin), 1.5}, true, A(0.5),
                              part, part_losses);
    EXPECT_TRUE(bitwise_equal(part, clone(rows(whole, begin, end))));
    EXPECT_TRUE(
        bitwise_equal(part_losses, clone(View1<A>(Kokkos::subview(losses, Range(begin, end))))));
  }
}

/// A constant added to all logits of a row changes neither loss nor gradient.
TYPED_TEST(KlDivergenceTest, ConstantsInARowDoNotMatter) {
  using T = TypeParam;
  const index_t V = 64;
  const auto teacher = random_matrix<T>(2, V, 1), student = random_matrix<T>(2, V, 2);
  auto values = to_host(student);
  for (T& value : values) value = T(std::round(16 * widen(value)) / 16);  // 4 is added exactly
  const auto plain = to_device(values, 2, V);
  for (T& value : values) value = static_cast<T>(widen(value) + 4);
  const auto moved = to_device(values, 2, V);
  const auto losses = new_losses<T>(2), moved_losses = new_losses<T>(2);
  kernels::kl_divergence<T>({}, {teacher, ones(2)}, true, 1, plain, losses);
  kernels::kl_divergence<T>({}, {teacher, ones(2)}, true, 1, moved, moved_losses);
  EXPECT_TRUE(near(moved_losses, losses, tolerance<T>(V)));
  EXPECT_TRUE(near(moved, plain, tolerance<T>(V)));
}

TEST(KlDivergence, WrongExtentsAreNamed) {
  const auto logits = random_matrix<float>(3, 10, 1), narrow = random_matrix<float>(3, 9, 1);
  const auto losses = new_losses<float>(3), bad = new_losses<float>(5);
  const kernels::KlDivergenceRows<float> good{logits, ones(3)};
  const auto loss = [&](const kernels::KlDivergenceRows<float>& rows, const View1<float>& out) {
    return [=] { kernels::kl_divergence<float>({}, rows, true, 1, clone(logits), out); };
  };
  EXPECT_TRUE(refuses(loss({narrow, ones(3)}, losses), "teacher is [3, 9], expected [3, 10]"));
  EXPECT_TRUE(refuses(loss({logits, ones(4)}, losses), "weight is [4], expected [3]"));
  EXPECT_TRUE(refuses(loss({logits, ones(3), -1}, losses), "temperature -1"));
  EXPECT_TRUE(refuses(loss(good, bad), "row_loss is [5], expected [3]"));
  EXPECT_TRUE(refuses([&] { kernels::kl_divergence_sums<float>({}, good, logits, logits, logits); },
                      "maxima is [3, 10], expected [3, 2]"));
}

}  // namespace
}  // namespace elastic::test
