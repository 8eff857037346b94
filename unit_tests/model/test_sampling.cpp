// SPDX-License-Identifier: Apache-2.0
// Sampling of one token: distribution, nucleus, edges, repeatability.
#include "model/sampling.hpp"

#include <cmath>

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

const std::vector<double> example_logits = {std::log(0.1), std::log(0.4), std::log(0.1),
                                            std::log(0.3), std::log(0.1)};

token_t sample(const SamplingConfig& config, double uniform,
               const std::vector<double>& logits = example_logits) {
  return sample_token<double>(logits, config, uniform);
}
/// Parts of 4000 draws that gave each token.
std::vector<double> frequencies(const SamplingConfig& config) {
  std::vector<double> result(example_logits.size());
  for (std::uint64_t i = 0; i < 4000; ++i)
    result[sample(config, random_uniform({1, RandomPurpose::test}, i))] += 1.0 / 4000;
  return result;
}

TEST(Sampling, TemperatureZeroIsTheMostLikelyToken) {
  for (const double uniform : {0.001, 0.5, 0.999}) EXPECT_EQ(sample({}, uniform), 1);
  EXPECT_EQ(sample({}, 0.5, {2, 7, 7, 1}), 1);  // the first one on a tie, as argmax_rows
}

TEST(Sampling, FollowsTheTemperedDistribution) {
  EXPECT_TRUE(
      near(frequencies({.temperature = 1}), std::vector<double>{0.1, 0.4, 0.1, 0.3, 0.1}, 0.03));
  // Squares at half the temperature, divided by their sum 0.28.
  EXPECT_TRUE(near(
      frequencies({.temperature = 0.5}),
      std::vector<double>{0.01 / 0.28, 0.16 / 0.28, 0.01 / 0.28, 0.09 / 0.28, 0.01 / 0.28}, 0.03));
  EXPECT_NEAR(frequencies({.temperature = 1e-3})[1], 1, 1e-9);
}

TEST(Sampling, KeepsTheShortestRowThatReachesTopP) {
  EXPECT_TRUE(near(frequencies({.temperature = 1, .top_p = 0.65}),
                   std::vector<double>{0, 4.0 / 7, 0, 3.0 / 7, 0}, 0.03));
  // Three tokens have 0.1; the one with the smallest id is needed for 0.75.
  EXPECT_TRUE(near(frequencies({.temperature = 1, .top_p = 0.75}),
                   std::vector<double>{0.125, 0.5, 0, 0.375, 0}, 0.03));
  EXPECT_NEAR(frequencies({.temperature = 1, .top_p = 1e-9})[1], 1, 1e-9);
  EXPECT_TRUE(
      near(frequencies({.temperature = 1, .top_p = 1}), frequencies({.temperature = 1}), 0));
}

TEST(Sampling, EdgesOfTheUniformNumber) {
  const SamplingConfig config{.temperature = 1};
  EXPECT_EQ(sample(config, 1e-300), 1);
  EXPECT_EQ(sample(config, 1 - 1e-16), 4);
  EXPECT_EQ(sample(config, 0.399), 1);
  EXPECT_EQ(sample(config, 0.401), 3);
  EXPECT_EQ(sample(config, 0.5, {3}), 0);               // one token
  EXPECT_EQ(sample(config, 0.9, {-1e30, 0, 1e30}), 2);  // exp of huge differences
}

TEST(Sampling, ReproducibleByKey) {
  const auto logits = random_matrix<float>(3, 40, 8);
  const SamplingConfig config{.temperature = 2, .seed = 9};
  std::vector<token_t> by_rows;
  for (index_t b = 0; b < 3; ++b)
    by_rows.push_back(choose_tokens<float>({}, rows(logits, b, b + 1), config, 4 + b, 11)[0]);
  EXPECT_EQ(choose_tokens<float>({}, logits, config, 4, 11), by_rows);
  index_t different = 0;
  for (index_t position = 0; position < 20; ++position)
    different += choose_tokens<float>({}, logits, config, 4, position) != by_rows;
  EXPECT_GE(different, 18);
}

TEST(Sampling, RejectsWhatIsNoDistribution) {
  EXPECT_NO_THROW(check_sampling({.temperature = 0, .top_p = 1}));
  for (const double temperature : {-0.1, std::nan(""), HUGE_VAL})
    EXPECT_THROW(check_sampling({.temperature = temperature}), InputError);
  for (const double top_p : {0.0, -1.0, 1.01, std::nan("")})
    EXPECT_THROW(check_sampling({.top_p = top_p}), InputError);
  EXPECT_THROW(sample({}, 0.5, {0, std::nan("")}), NumericsError);
  EXPECT_THROW(sample({.temperature = 1}, 0.5, {0, HUGE_VAL}), NumericsError);
}

}  // namespace
}  // namespace elastic::test
