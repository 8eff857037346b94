// SPDX-License-Identifier: Apache-2.0
#include "interop/element_type.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace elastic::test {
namespace {

TEST(ElementType, NamesAndSizes) {
  for (const char* name : {"F64", "I64", "U64", "F32", "I32", "U32", "BF16", "F16", "I16", "U16",
                           "I8", "U8", "BOOL"}) {
    const auto type = element_type_of(name);
    ASSERT_TRUE(type) << name;
    EXPECT_STREQ(name_of(*type), name);
  }
  EXPECT_FALSE(element_type_of("F8_E4M3"));
  EXPECT_EQ(size_of(ElementType::bf16), 2u);
  EXPECT_EQ(size_of(ElementType::boolean), 1u);
  EXPECT_TRUE(is_real(ElementType::f16));
  EXPECT_FALSE(is_real(ElementType::i16));
}

TEST(ElementType, EveryHalfGoesToFloatAndBack) {
  for (int bits = 0; bits < 65536; ++bits)
    ASSERT_EQ(half_bits(float_from_half(static_cast<std::uint16_t>(bits))) & 0xfdff, bits & 0xfdff)
        << bits;  // a signalling NaN becomes quiet
  EXPECT_EQ(float_from_half(0x3c00), 1.0f);
  EXPECT_EQ(float_from_half(0xc000), -2.0f);
  EXPECT_EQ(float_from_half(0x0001), 0x1p-24f);
  EXPECT_EQ(float_from_half(0x7bff), 65504.0f);
  EXPECT_TRUE(std::isinf(float_from_half(0x7c00)));
}

TEST(ElementType, HalvesAreRoundedToNearestEven) {
  EXPECT_EQ(half_bits(1 + 0x1p-11f), 0x3c00);      // a tie: down to even
  EXPECT_EQ(half_bits(1 + 3 * 0x1p-11f), 0x3c02);  // a tie: up to even
  EXPECT_EQ(half_bits(1 + 0x1p-11f + 0x1p-20f), 0x3c01);
  EXPECT_EQ(half_bits(65519.0f), 0x7bff);
  EXPECT_EQ(half_bits(65520.0f), 0x7c00);
  EXPECT_EQ(half_bits(0x1p-25f), 0x0000);
  EXPECT_EQ(half_bits(0x1.8p-25f), 0x0001);
  EXPECT_EQ(half_bits(0x1.ffep-15f), 0x0400);  // the largest subnormal and a half rounds up
  EXPECT_EQ(half_bits(-0.0f), 0x8000);
}

TEST(ElementType, NumbersThatAreNotFinite) {
  const std::vector<double> wide = {1, -3e38, 0, 1e39, 2};
  EXPECT_EQ(first_not_finite(ElementType::f64, wide.data(), wide.size()), 3u);
  EXPECT_EQ(first_not_finite(ElementType::f64, wide.data(), 3), std::nullopt);
  for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan("")})
    for (const auto type :
         {ElementType::f64, ElementType::f32, ElementType::bf16, ElementType::f16}) {
      const std::vector<double> values = {0, -1, 1e-30, bad, bad};
      std::vector<char> stored(values.size() * 8);
      convert_elements(ElementType::f64, values.data(), values.size(), type, stored.data());
      EXPECT_EQ(first_not_finite(type, stored.data(), values.size()), 3u) << name_of(type);
      EXPECT_EQ(first_not_finite(type, stored.data(), 3), std::nullopt) << name_of(type);
      const double most = largest_of(type);
      convert_elements(ElementType::f64, &most, 1, type, stored.data());
      EXPECT_EQ(first_not_finite(type, stored.data(), 1), std::nullopt) << name_of(type);
      double back = 0;
      convert_elements(type, stored.data(), 1, ElementType::f64, &back);
      EXPECT_EQ(back, most) << name_of(type);
    }
}

TEST(ElementType, Conversions) {
  const std::vector<float> values = {1.0f, -2.5f, 3.1415927f, 1e30f, 0.0f};
  std::vector<std::uint16_t> narrow(values.size());
  std::vector<double> wide(values.size());
  std::vector<float> back(values.size());
  convert_elements(ElementType::f32, values.data(), values.size(), ElementType::bf16,
                   narrow.data());
  convert_elements(ElementType::bf16, narrow.data(), values.size(), ElementType::f64, wide.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(narrow[i], bfloat16_bits(values[i]));
    EXPECT_EQ(wide[i], static_cast<double>(float_from_bfloat16(narrow[i])));
  }
  convert_elements(ElementType::f64, wide.data(), values.size(), ElementType::f16, narrow.data());
  EXPECT_EQ(narrow[0], 0x3c00);
  EXPECT_EQ(narrow[3], 0x7c00);
  convert_elements(ElementType::f32, values.data(), values.size(), ElementType::f32, back.data());
  EXPECT_EQ(back, values);
}

}  // namespace
}  // namespace elastic::test
