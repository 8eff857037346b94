// SPDX-License-Identifier: Apache-2.0
// Arithmetic of sixteen numbers at a time: powers of two and rounding to pairs of bfloat16.
#include "kernels/attention/lanes.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

float first_of(FloatLanes x) { return x[0]; }

TEST(Lanes, ProbabilitiesArePowersOfTwo) {
  for (float t = -86; t <= 1; t += 0.003f) {
    const double exact = std::exp2(static_cast<double>(t));
    ASSERT_NEAR(first_of(probability_of(all_lanes(t))) / exact, 1, 4e-6) << t;
  }
  EXPECT_EQ(first_of(probability_of(all_lanes(0))), 1);
  EXPECT_EQ(first_of(probability_of(all_lanes(-3))), 0.125f);
}

/// What is not seen, too small or no number.
TEST(Lanes, ProbabilitiesEndAtZeroAndKeepNaN) {
  for (const float t : {-87.0f, -1000.0f, -1e30f, -std::numeric_limits<float>::infinity()})
    EXPECT_EQ(first_of(probability_of(all_lanes(t))), 0) << t;
  EXPECT_GT(first_of(probability_of(all_lanes(-86.5f))), 0);
  EXPECT_TRUE(
      std::isnan(first_of(probability_of(all_lanes(std::numeric_limits<float>::quiet_NaN())))));
}

TEST(Lanes, PairsHoldTheNearestOfBothRows) {
  FloatLanes low, high;
  for (int l = 0; l < 16; ++l) {
    low[l] = 1.0f + 0.001f * static_cast<float>(l);
    high[l] = -3e-5f * static_cast<float>(l);
  }
  bfloat16 pairs[32], even[16], odd[16];
  store_pairs(pairs, round_to_pairs(low, high));
  store_rows_of_pairs(even, odd, round_to_pairs(low, high));
  for (int l = 0; l < 16; ++l) {
    EXPECT_EQ(pairs[2 * l], bfloat16(low[l])) << l;
    EXPECT_EQ(pairs[2 * l + 1], bfloat16(high[l])) << l;
    EXPECT_EQ(even[l], bfloat16(low[l])) << l;
    EXPECT_EQ(odd[l], bfloat16(high[l])) << l;
  }
}

/// 1 + 2^-8 lies between 1 and 1 + 2^-7.
TEST(Lanes, TiesGoAwayFromZero) {
  bfloat16 pairs[32];
  store_pairs(pairs, round_to_pairs(all_lanes(1 + 0x1p-8f), all_lanes(-1 - 0x1p-8f)));
  EXPECT_EQ(static_cast<float>(pairs[0]), 1 + 0x1p-7f);
  EXPECT_EQ(static_cast<float>(pairs[1]), -1 - 0x1p-7f);
}

TEST(Lanes, CopiedRowsArePaddedWithZeros) {
  const std::vector<bfloat16> source(12, bfloat16(2));  // [3, 4]
  std::vector<bfloat16> target(4 * 6, bfloat16(7));
  copy_rows(target.data(), 6, source.data(), 4, 3, 3, 4);
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 6; ++j)
      EXPECT_EQ(static_cast<float>(target[static_cast<std::size_t>(i * 6 + j)]),
                i < 3 && j < 3 ? 2.0f : 0.0f);
}

}  // namespace
}  // namespace elastic::kernels
