// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 against the known answers of Random123 (kat_vectors), and its distributions.
#include "base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace elastic::test {
namespace {

RandomBits bits(std::uint32_t seed, std::uint32_t purpose, std::uint64_t stream,
                std::uint64_t index) {
  return random_bits({seed, static_cast<RandomPurpose>(purpose), stream}, index);
}
void expect_words(const RandomBits& actual, const std::array<std::uint32_t, 4>& expected) {
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(actual.word[i], expected[i]) << "word " << i;
}

TEST(Random, KnownAnswers) {
  expect_words(bits(0, 0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t ones = ~std::uint64_t{0};
  expect_words(bits(0xffffffff, 0xffffffff, ones, ones),
               {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_words(bits(0xa4093822, 0x299f31d0, 0x0370734413198a2e, 0x85a308d3243f6a88),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Random, UniformStaysInsideTheOpenInterval) {
  EXPECT_GT(uniform_from_bits(0, 0), 0);
  EXPECT_LT(uniform_from_bits(0xffffffff, 0xffffffff), 1);
  EXPECT_NEAR(uniform_from_bits(0x80000000, 0), 0.5, 1e-15);
}

TEST(Random, MomentsOfUniformAndNormal) {
  constexpr int num_draws = 100000;
  const RandomKey key{1, RandomPurpose::test};
  double uniform = 0, uniform_square = 0, normal = 0, normal_square = 0, normal_fourth = 0;
  for (int i = 0; i < num_draws; ++i) {
    const double u = random_uniform(key, i), z = random_normal(key, i);
    uniform += u / num_draws;
    uniform_square += u * u / num_draws;
    normal += z / num_draws;
    normal_square += z * z / num_draws;
    normal_fourth += z * z * z * z / num_draws;
  }
  const double sigma = 1 / std::sqrt(num_draws);
  EXPECT_NEAR(uniform, 0.5, 4 * 0.29 * sigma);
  EXPECT_NEAR(uniform_square, 1. / 3, 4 * 0.3 * sigma);
  EXPECT_NEAR(normal, 0, 4 * sigma);
  EXPECT_NEAR(normal_square, 1, 4 * 1.42 * sigma);
  EXPECT_NEAR(normal_fourth, 3, 4 * 9.8 * sigma);
}

TEST(Random, IntegersCoverTheirRange) {
  std::array<int, 7> count{};
  for (int i = 0; i < 7000; ++i) ++count[random_below({3, RandomPurpose::test}, i, 7)];
  for (const int c : count) EXPECT_NEAR(c, 1000, 120);
}

TEST(Random, SeedPurposeStreamAndIndexAllMatter) {
  std::set<double> values;
  for (const std::uint32_t seed : {1u, 2u})
    for (const auto purpose : {RandomPurpose::budget, RandomPurpose::gumbel_noise})
      for (const std::uint64_t stream :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32})
        for (const std::uint64_t index :
             {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32})
          values.insert(random_uniform({seed, purpose, stream}, index));
  EXPECT_EQ(values.size(), 36u);
}

}  // namespace
}  // namespace elastic::test
