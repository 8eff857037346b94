// SPDX-License-Identifier: Apache-2.0
// The KL from stored words against its definition in double, numpy, finite differences and the KL
// over all words.
#include "kernels/losses/top_words_kl.hpp"

#include "kernels/losses/kl_divergence.hpp"
#include "unit_tests/kernels/contract.hpp"
#include "unit_tests/kernels/shards.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::test {
namespace {

template <class T>
class TopWordsKlTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(TopWordsKlTest, Scalars);

/// What a random teacher of V words says with k of them.
kernels::TopWords said(index_t tokens, index_t V, index_t k, double temperature,
                       std::uint32_t seed) {
  const kernels::TopWordsOut out{View2<token_t>("ids", tokens, k),
                                 View2<bfloat16>("log_p", tokens, k),
                                 View1<bfloat16>("log_rest", tokens)};
  kernels::top_words<float>({}, random_matrix<float>(tokens, V, seed, -4, 4), temperature, out);
  return {out.ids, out.log_p, out.log_rest};
}

/// What the ranks of a sharded vocabulary leave: gradient of each, row loss of the last.
template <class T>
struct Result {
  std::vector<View2<T>> student;
  View1<Accumulate<T>> losses;
  View2<Accumulate<T>> sums = {};
};
template <class T>
Result<T> differentiate(const kernels::TopWords& words, const View2<T>& student,
                        View1<const float> weight, double temperature, double factor,
                        int ranks = 1) {
  using A = Accumulate<T>;
  const index_t tokens = student.extent(0), k = words.ids.extent(1);
  Result<T> result{{}, random_vector<A>(tokens, 77)};
  std::vector<kernels::TopWordsRows> rows;
  std::vector<View2<A>> known, maxima, sums;
  for (int r = 0; r < ranks; ++r) {
    rows.push_back({words, weight, temperature, {r, ranks}});
    result.student.push_back(ranks == 1 ? student : columns_of(student, {r, ranks}));
    known.push_back(random_matrix<A>(tokens, k, 5));
    maxima.push_back(random_matrix<A>(tokens, 2, 5));
    sums.push_back(random_matrix<A>(tokens, 3, 5));
    kernels::top_words_kl_maxima<T>({}, rows[r], result.student[r], known[r], maxima[r]);
  }
  const auto maximum = maximum_over_ranks(maxima);
  for (int r = 0; r < ranks; ++r)
    kernels::top_words_kl_sums<T>({}, rows[r], result.student[r], known[r], maximum, sums[r]);
  result.sums = sum_over_ranks(sums);
  for (int r = 0; r < ranks; ++r)
    kernels::top_words_kl_finish<T>({}, rows[r], {known[r], maximum, result.sums},
                                    static_cast<A>(factor), result.student[r], result.losses);
  return result;
}

/// Loss and gradient of one row by definition: all words but the known ones are one outcome.
struct Naive {
  double loss = 0;
  std::vector<double> gradient;
};
Naive naive_row(const token_t* ids, const double* log_p, double log_rest, index_t k,
                const double* z, index_t V, double temperature) {
  const double maximum = *std::max_element(z, z + V);
  double sum = 0, total = std::exp(log_rest), q_rest = 0;
  std::vector<double> q, p(V, -1);
  for (index_t v = 0; v < V; ++v) q.push_back(std::exp((z[v] - maximum) / temperature));
  for (const double x : q) sum += x;
  for (double& x : q) x /= sum;
  for (index_t i = 0; i < k; ++i) total += std::exp(log_p[i]);
  for (index_t i = 0; i < k; ++i) p[ids[i]] = std::exp(log_p[i]) / total;
  const double r = std::exp(log_rest) / total;
  Naive row;
  for (index_t v = 0; v < V; ++v) {
    if (p[v] < 0) q_rest += q[v];
    if (p[v] > 0) row.loss += p[v] * std::log(p[v] / q[v]);
  }
  if (r > 0) row.loss += r * std::log(r / q_rest);
  for (index_t v = 0; v < V; ++v)
    row.gradient.push_back((p[v] < 0 ? q[v] * (1 - r / q_rest) : q[v] - p[v]) / temperature);
  return row;
}

template <class T>
void expect_definition(const kernels::TopWords& words, const View2<T>& student,
                       double temperature) {
  const index_t tokens = student.extent(0), V = student.extent(1), k = words.ids.extent(1);
  SCOPED_TRACE(fmt::format("V {} k {}", V, k));
  const auto z = to_double(student), log_p = to_double(words.log_p),
             log_rest = to_double(words.log_rest);
  const auto ids = to_host(words.ids);
  const auto weight = random_vector<float>(tokens, 5, 0.1, 2);
  const auto w = to_double(weight);
  const auto result = differentiate<T>(words, student, weight, temperature, 0.5);
  std::vector<double> losses, gradient;
  for (index_t t = 0; t < tokens; ++t) {
    const Naive row =
        naive_row(&ids[t * k], &log_p[t * k], log_rest[t], k, &z[t * V], V, temperature);
    losses.push_back(w[t] * row.loss);
    for (const double g : row.gradient) gradient.push_back(0.5 * w[t] * g);
  }
  EXPECT_TRUE(near(result.losses, losses, 4 * tolerance<T>(V)));
  EXPECT_TRUE(near(student, gradient, tolerance<T>(16)));
}

TYPED_TEST(TopWordsKlTest, EqualsDefinition) {
  using T = TypeParam;
  for (const auto& [V, k] : std::vector<std::pair<index_t, index_t>>{
           {1, 1}, {7, 1}, {7, 7}, {64, 8}, {512, 511}, {5003, 64}})
    for (const double temperature : {1.0, 2.5})
      expect_definition<T>(said(4, V, k, temperature, 3), strided_random_matrix<T>(4, V, V + 5, 4),
                           temperature);
}

template <class T>
class TopWordsKlOfNumpy : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(TopWordsKlOfNumpy, ExactScalars);

TYPED_TEST(TopWordsKlOfNumpy, IsOurs) {
  using T = TypeParam;
  const Fixture f("top_words.h5");
  const auto student = f.matrix<T>("student");
  const kernels::TopWords words{f.matrix<token_t>("ids"), f.matrix<bfloat16>("log_p"),
                                f.vector<bfloat16>("log_rest")};
  const auto result =
      differentiate<T>(words, student, f.vector<float>("weight"), f.scalar("temperature"), 1);
  EXPECT_TRUE(near(result.losses, f.vector<double>("loss"), 4 * tolerance<T>(61)));
  EXPECT_TRUE(near(student, f.matrix<double>("gradient"), tolerance<T>(61)));
}

TEST(TopWordsKl, GradientEqualsFiniteDifferences) {
  const index_t tokens = 5, V = 33;
  for (const index_t k : {1, 6, 33}) {
    const auto words = said(tokens, V, k, 1.5, 7);
    const auto student = random_matrix<double>(tokens, V, 8, -3, 3);
    const auto weight = random_vector<float>(tokens, 9, 0, 1);
    const auto gradient = clone(student);
    differentiate<double>(words, gradient, weight, 1.5, 1);
    const auto loss = [&] {
      const auto result = differentiate<double>(words, clone(student), weight, 1.5, 1);
      return dot(result.losses, std::vector<double>(tokens, 1));
    };
    EXPECT_LT(directional_error(loss, student, gradient), 1e-6) << k;
  }
}

/// With all words known nothing but the rounding of the stored numbers is left: 2^-9 of log p.
TEST(TopWordsKl, OfAllWordsIsTheKlOverAllWords) {
  const index_t tokens = 6, V = 64;
  const auto teacher = random_matrix<float>(tokens, V, 3, -4, 4),
             student = random_matrix<float>(tokens, V, 4, -4, 4), full = clone(student);
  const auto weight = random_vector<float>(tokens, 5, 0.1, 2);
  const auto losses = random_vector<float>(tokens, 77);
  kernels::kl_divergence<float>({}, {teacher, weight, 1}, true, 1, full, losses);
  const auto result = differentiate<float>(said(tokens, V, V, 1, 3), student, weight, 1, 1);
  EXPECT_TRUE(near(result.losses, to_double(losses), 0.02));
  EXPECT_TRUE(near(student, to_double(full), 0.004));
}

/// The fewer words are known, the smaller is the divergence, and it is never negative.
TEST(TopWordsKl, FewerWordsTellLess) {
  const index_t tokens = 6, V = 64;
  const auto weight = random_vector<float>(tokens, 5, 1, 1);
  std::vector<double> before(tokens, 1e9);
  for (const index_t k : {64, 32, 8, 1}) {
    const auto result = differentiate<float>(said(tokens, V, k, 1, 3),
                                             random_matrix<float>(tokens, V, 4), weight, 1, 1);
    const auto losses = to_double(result.losses);
    for (index_t t = 0; t < tokens; ++t) {
      EXPECT_LE(losses[t], before[t] + 0.02) << k;
      EXPECT_GE(losses[t], -1e-5) << k;
    }
    before = losses;
  }
}

TYPED_TEST(TopWordsKlTest, RowsWithoutWeightAreExactZeros) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 3, V = 20;
  auto values = random_values<T>(tokens * V, 6);
  values[V + 3] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
  const auto student = to_device(values, tokens, V);
  const auto result = differentiate<T>(said(tokens, V, 4, 1, 3), student,
                                       to_device(std::vector<float>{1, 0, 1}), 1, 1);
  const auto g = to_host(student);
  EXPECT_EQ(to_host(result.losses)[1], A(0));
  for (index_t v = 0; v < V; ++v) {
    EXPECT_EQ(g[V + v], T(0));
    EXPECT_NE(g[v], T(0));
  }
}

/// A student that gives all other words next to nothing: 1 - sum of q would be 0.
TYPED_TEST(TopWordsKlTest, SmallAndLargeLogitsAreStable) {
  using T = TypeParam;
  const index_t V = 40;
  const kernels::TopWords words{to_device(std::vector<token_t>{5}, 1, 1),
                                to_device(std::vector<bfloat16>{bfloat16(std::log(0.5))}, 1, 1),
                                to_device(std::vector<bfloat16>{bfloat16(std::log(0.5))})};
  for (const double lead : {60.0, 512.0}) {
    std::vector<T> z(V, T(-lead / 2));
    z[5] = T(lead / 2);
    const auto student = to_device(z, 1, V);
    const auto one = to_device(std::vector<float>{1});
    const auto result = differentiate<T>(words, student, one, 1, 1);
    EXPECT_NEAR(to_host(result.losses)[0], std::log(0.5) + 0.5 * (lead - std::log(39.0)),
                1e-4 * lead);
    const auto g = to_double(student);
    EXPECT_NEAR(g[5], 0.5, 0.01);
    EXPECT_NEAR(g[6], -0.5 / 39, 1e-4);
  }
}

TYPED_TEST(TopWordsKlTest, NanShows) {
  using T = TypeParam;
  for (const index_t where : {0, 7}) {
    auto values = random_values<T>(8, 6);
    values[where] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
    const auto student = to_device(values, 1, 8);
    const auto result =
        differentiate<T>(said(1, 8, 4, 1, 3), student, to_device(std::vector<float>{1}), 1, 1);
    EXPECT_TRUE(std::isnan(to_host(result.losses)[0])) << where;
  }
}

/// Vocabularies that do and do not fill blocks, more ranks than words, rows without weight.
TYPED_TEST(TopWordsKlTest, RanksGiveTheBitsOfOne) {
  using T = TypeParam;
  for (const auto& [V, k] :
       std::vector<std::pair<index_t, index_t>>{{1, 1}, {5, 3}, {16, 16}, {512, 20}, {5003, 64}}) {
    const index_t tokens = 5;
    const auto words = said(tokens, V, k, 1.5, 3);
    const auto student = strided_random_matrix<T>(tokens, V, V + 5, 4);
    const auto weight = to_device(std::vector<float>{1, 0.5, 0, 2, 0.1f});
    const auto one = differentiate<T>(words, clone(student), weight, 1.5, 0.25);
    for (const int ranks : {2, 3, 4, 8}) {
      SCOPED_TRACE(fmt::format("V {} k {} ranks {}", V, k, ranks));
      const auto result = differentiate<T>(words, student, weight, 1.5, 0.25, ranks);
      const double tol = ranks == 3 ? 4 * tolerance<T>(V) : 0;
      EXPECT_TRUE(near(result.losses, one.losses, tol));
      for (int r = 0; r < ranks; ++r)
        EXPECT_TRUE(near(result.student[r], columns_of(one.student[0], {r, ranks}), tol));
      if (ranks == 3) continue;
      EXPECT_TRUE(bitwise_equal(result.sums, one.sums));
    }
  }
}

TEST(TopWordsKl, WrongArgumentsAreContractErrors) {
  const auto student = random_matrix<float>(3, 10, 1), known = random_matrix<float>(3, 4, 1),
             maxima = random_matrix<float>(3, 2, 1);
  const auto weight = random_vector<float>(3, 1), losses = random_vector<float>(3, 1);
  const auto maxima_of = [&](const kernels::TopWordsRows& rows, const View2<float>& out) {
    return [=] { kernels::top_words_kl_maxima<float>({}, rows, student, out, maxima); };
  };
  const auto words = said(3, 10, 4, 1, 3);
  EXPECT_TRUE(refuses(maxima_of({words, weight, 0}, known), "temperature 0"));
  EXPECT_TRUE(refuses(maxima_of({{}, weight}, known), "no word is known"));
  EXPECT_TRUE(
      refuses(maxima_of({said(4, 10, 4, 1, 3), weight}, known), "ids is [4, 4], expected [3, 4]"));
  EXPECT_TRUE(refuses(maxima_of({words, weight}, maxima), "known is [3, 2], expected [3, 4]"));
  EXPECT_TRUE(refuses(
      [&] {
        kernels::top_words_kl_finish<float>({}, {words, weight}, {known, maxima, maxima}, 1,
                                            student, losses);
      },
      "sums is [3, 2], expected [3, 3]"));
}

}  // namespace
}  // namespace elastic::test
