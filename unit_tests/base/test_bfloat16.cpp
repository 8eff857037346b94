// SPDX-License-Identifier: Apache-2.0
// Rounding of every kind of number to 16 bits, and what the type does not offer.
#include "base/bfloat16.hpp"

#include <cmath>

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

float rounded(float x) { return static_cast<float>(bfloat16(x)); }

TEST(Bfloat16, EveryValueComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto x = bfloat16::from_bits(static_cast<std::uint16_t>(bits));
    const auto value = static_cast<float>(x);
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(rounded(value))) << bits;
    else
      ASSERT_EQ(bfloat16(value).bits(), bits);
  }
}

TEST(Bfloat16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(rounded(1 + 0x1p-8f), 1) << "tie, to even";
  EXPECT_EQ(rounded(1 + 0x3p-8f), 1 + 0x1p-6f) << "tie, to even";
  EXPECT_EQ(rounded(1 + 0x1p-8f + 0x1p-20f), 1 + 0x1p-7f) << "above the tie";
  EXPECT_EQ(rounded(-1 - 0x1p-8f - 0x1p-20f), -1 - 0x1p-7f);
  EXPECT_TRUE(std::isinf(rounded(std::numeric_limits<float>::max())));
  EXPECT_EQ(bfloat16(1.0 / 3).bits(), bfloat16(1.0f / 3).bits()) << "from double";
}

TEST(Bfloat16, KeepsSubnormalNumbersAndSigns) {
  EXPECT_EQ(rounded(0x1p-130f), 0x1p-130f);
  EXPECT_EQ(rounded(0x1p-133f), 0x1p-133f) << "the smallest";
  EXPECT_EQ(rounded(0x1p-135f), 0);
  EXPECT_TRUE(std::signbit(rounded(-0.0f)));
  EXPECT_TRUE(bfloat16(0.0f) == bfloat16(-0.0f));
}

TEST(Bfloat16, ANanWhosePayloadWouldRoundAwayStaysOne) {
  EXPECT_TRUE(std::isnan(rounded(math::bit_cast<float>(0x7f800001u))));
  EXPECT_TRUE(std::isnan(rounded(math::bit_cast<float>(0xffffffffu))));
  const bfloat16 nan(std::nanf(""));
  EXPECT_FALSE(nan == nan);
}

TEST(Bfloat16, ComputesNothingItself) {
  static_assert(!std::is_convertible_v<bfloat16, float>, "no silent arithmetic");
  static_assert(!std::is_convertible_v<float, bfloat16>, "no silent rounding");
  static_assert(std::is_same_v<Accumulate<bfloat16>, float>);
  static_assert(std::is_same_v<decltype(widen(bfloat16(1))), float>);
}

TEST(Bfloat16, ViewsStartAtZeroAndCopy) {
  const View1<bfloat16> a("elastic::test::a", 3);
  for (const bfloat16 x : to_host(a)) EXPECT_EQ(x.bits(), 0);
  Kokkos::deep_copy(a, bfloat16(2.5));
  for (const bfloat16 x : to_host(a)) EXPECT_EQ(static_cast<double>(x), 2.5);
}

}  // namespace
}  // namespace elastic::test
