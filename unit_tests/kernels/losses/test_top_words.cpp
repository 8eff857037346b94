// SPDX-License-Identifier: Apache-2.0
// The likeliest words of each token against sorting in double, and against numpy.
#include "kernels/losses/top_words.hpp"

#include <algorithm>
#include <numeric>

#include "unit_tests/kernels/contract.hpp"
#include "unit_tests/support/fixture.hpp"

namespace elastic::test {
namespace {

template <class T>
class TopWordsTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float>;
TYPED_TEST_SUITE(TopWordsTest, Scalars);

kernels::TopWordsOut new_words(index_t tokens, index_t k) {
  return {to_device(std::vector<token_t>(tokens * k, -7), tokens, k),
          random_matrix<bfloat16>(tokens, k, 5), random_vector<bfloat16>(tokens, 6)};
}

/// What a row must be: the first k of a stable sort by falling logit, rising, and the rest.
struct Expected {
  std::vector<token_t> ids;
  std::vector<double> log_p;
  double rest = 0;
};
Expected expected_row(const double* z, index_t V, index_t k, double temperature) {
  std::vector<token_t> order(V);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](token_t a, token_t b) { return z[a] > z[b]; });
  const double maximum = z[order[0]];
  double sum = 0;
  for (index_t v = 0; v < V; ++v) sum += std::exp((z[v] - maximum) / temperature);
  Expected row{{order.begin(), order.begin() + k}, {}};
  std::sort(row.ids.begin(), row.ids.end());
  for (const token_t id : row.ids)
    row.log_p.push_back((z[id] - maximum) / temperature - std::log(sum));
  for (index_t i = k; i < V; ++i) row.rest += std::exp((z[order[i]] - maximum) / temperature) / sum;
  return row;
}

template <class T>
void expect_sorted(const View2<T>& logits, index_t k, double temperature) {
  const index_t tokens = logits.extent(0), V = logits.extent(1);
  const auto out = new_words(tokens, k);
  kernels::top_words<T>({}, logits, temperature, out);
  const auto z = to_double(logits), log_p = to_double(out.log_p),
             log_rest = to_double(out.log_rest);
  const auto ids = to_host(out.ids);
  for (index_t t = 0; t < tokens; ++t) {
    SCOPED_TRACE(fmt::format("V {} k {} token {}", V, k, t));
    const Expected row = expected_row(&z[t * V], V, k, temperature);
    EXPECT_EQ(std::vector(&ids[t * k], &ids[t * k] + k), row.ids);
    for (index_t i = 0; i < k; ++i)
      EXPECT_NEAR(log_p[t * k + i], row.log_p[i], 1e-5 - row.log_p[i] / 256);
    if (k == V)
      EXPECT_EQ(log_rest[t], -INFINITY);
    else
      EXPECT_NEAR(log_rest[t], std::log(row.rest), 1e-5 - std::log(row.rest) / 256);
  }
}

/// One word, all words, more words than a stripe; rows further apart than V.
TYPED_TEST(TopWordsTest, AreTheFirstOfTheSortedRow) {
  using T = TypeParam;
  for (const auto& [V, k] : std::vector<std::pair<index_t, index_t>>{
           {1, 1}, {7, 1}, {7, 7}, {64, 8}, {512, 511}, {5003, 64}})
    for (const double temperature : {1.0, 2.5})
      expect_sorted<T>(strided_random_matrix<T>(4, V, V + 3, 3), k, temperature);
}

/// Few different logits, both zeros among them: of equal ones the first are taken.
TYPED_TEST(TopWordsTest, EqualLogitsAreTakenInTheOrderOfWords) {
  using T = TypeParam;
  std::vector<T> values;
  for (const float x : random_values<float>(3 * 100, 8, -2, 2)) values.push_back(T(std::floor(x)));
  for (const index_t k : {1, 30, 50, 99}) expect_sorted<T>(to_device(values, 3, 100), k, 1);
  expect_sorted<T>(to_device(std::vector<T>(40, T(3)), 1, 40), 13, 1);
}

TYPED_TEST(TopWordsTest, AFarLeaderLeavesAFiniteRest) {
  using T = TypeParam;
  std::vector<T> values(30, T(-1e4f));
  values[11] = T(1e4f);
  const auto out = new_words(1, 2);
  kernels::top_words<T>({}, to_device(values, 1, 30), 1, out);
  EXPECT_EQ(to_host(out.ids), (std::vector<token_t>{0, 11}));
  const auto log_p = to_double(out.log_p), rest = to_double(out.log_rest);
  EXPECT_EQ(log_p[1], 0);
  EXPECT_TRUE(std::isfinite(rest[0]) && rest[0] < -80) << rest[0];
}

TYPED_TEST(TopWordsTest, ALogitThatIsNotFiniteShows) {
  using T = TypeParam;
  for (const float bad : {NAN, -NAN, INFINITY}) {
    auto values = random_values<T>(2 * 20, 9);
    values[20 + 4] = T(bad);
    const auto out = new_words(2, 3);
    kernels::top_words<T>({}, to_device(values, 2, 20), 1, out);
    const auto log_p = to_double(out.log_p);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(std::isfinite(log_p[i]) && std::isnan(log_p[3 + i]));
  }
}

TEST(TopWords, AreThoseOfNumpy) {
  const Fixture f("top_words.h5");
  const auto ids = to_host(f.matrix<token_t>("ids"));
  const auto out = new_words(7, 5);
  kernels::top_words<float>({}, f.matrix<float>("teacher"), f.scalar("temperature"), out);
  EXPECT_EQ(to_host(out.ids), ids);
  EXPECT_TRUE(near(stored_as<float>(out.log_p), f.matrix<double>("log_p"), 1.0 / 256));
  EXPECT_TRUE(near(stored_as<float>(out.log_rest), f.vector<double>("log_rest"), 1.0 / 256));
}

TEST(TopWords, WrongArgumentsAreContractErrors) {
  const auto logits = random_matrix<float>(3, 10, 1);
  const auto words = [&](double temperature, index_t tokens, index_t k) {
    return [=] { kernels::top_words<float>({}, logits, temperature, new_words(tokens, k)); };
  };
  EXPECT_TRUE(refuses(words(0, 3, 2), "temperature 0"));
  EXPECT_TRUE(refuses(words(1, 3, 11), "11 of 10 words"));
  EXPECT_TRUE(refuses(words(1, 4, 2), "ids is [4, 2], expected [3, 2]"));
}

}  // namespace
}  // namespace elastic::test
