// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/convert.hpp"

#include "unit_tests/support/views.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

TEST(Convert, RoundsToNearestAndTiesToEven) {
  const auto sums = to_device(
      std::vector<float>{1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1p-8f + 0x1p-20f, -0.0f, 0x1p-133f, 3e38f},
      2, 3);
  const View2<bfloat16> values("elastic::test::values", 2, 3);
  convert<bfloat16, float>(ExecutionSpace(), sums, values);
  EXPECT_EQ(to_double(values), (std::vector<double>{1, 1 + 0x1p-6, 1 + 0x1p-7, -0.0, 0x1p-133,
                                                    0x1.c4p127}));  // subnormal numbers are kept
}

TEST(Convert, WidensExactlyAndRoundsBack) {
  const auto values = strided_random_matrix<bfloat16>(9, 1030, 1035, 1);
  const auto sums = strided_random_matrix<float>(9, 1030, 1033, 2);  // must be overwritten
  convert<float, bfloat16>(ExecutionSpace(), values, sums);
  EXPECT_TRUE(bitwise_equal(sums, stored_as<float>(values)));
  const auto back = random_matrix<bfloat16>(9, 1030, 3);
  convert<bfloat16, float>(ExecutionSpace(), sums, back);
  EXPECT_TRUE(bitwise_equal(back, clone(values)));
}

TEST(Convert, NaNAndInfinityStay) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  std::vector<float> sums(64, nan);
  sums[7] = -infinity;
  const View2<bfloat16> values("elastic::test::values", 1, 64);
  convert<bfloat16, float>(ExecutionSpace(), to_device(sums, 1, 64), values);
  const auto v = to_double(values);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(std::isnan(v[i]), i != 7) << i;
  EXPECT_EQ(v[7], -infinity);
}

/// Where a type can hold its sums, values are copied, and nothing beside them.
TEST(Convert, CopiesWithinAType) {
  const auto from = strided_random_matrix<double>(5, 7, 9, 1);
  const auto parent = random_matrix<double>(6, 11, 2);
  const auto before = to_host(parent);
  convert<double, double>(ExecutionSpace(), from, prefix(parent, 5, 7));
  EXPECT_TRUE(bitwise_equal(clone(prefix(parent, 5, 7)), clone(from)));
  const auto after = to_host(parent);
  for (index_t i = 0; i < 66; ++i)
    if (i / 11 >= 5 || i % 11 >= 7) {
      EXPECT_EQ(after[i], before[i]) << i;
    }
}

TEST(Convert, NothingIsAllowedAndWrongExtentsAreNamed) {
  const ExecutionSpace exec;
  convert<float, float>(exec, View2<float>("elastic::test::a", 0, 4),
                        View2<float>("elastic::test::b", 0, 4));
  EXPECT_TRUE(refuses(
      [&] {
        convert<float, float>(exec, random_matrix<float>(3, 4, 1), random_matrix<float>(3, 5, 1));
      },
      "to is [3, 5], expected [3, 4]"));
}

}  // namespace
}  // namespace elastic::kernels
