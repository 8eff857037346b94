// SPDX-License-Identifier: Apache-2.0
// Gradients of blocks added as integers: the same bits in any order, and each part in the sums of
// its own buffer.
#include "train/fixed_point_gradients.hpp"

#include <algorithm>

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr double unit = 0x1p-40;

View1<float> part(const View1<float>& all, index_t begin, index_t end) {
  return Kokkos::subview(all, Range(begin, end));
}
View1<index_t> flag() { return View1<index_t>("elastic::test::overflow", 1); }

TEST(FixedPointGradients, SumsDoNotDependOnTheOrderOfBlocks) {
  constexpr index_t size = 500;
  std::vector<std::vector<float>> blocks;
  std::vector<double> exact(size, 0.0);
  for (std::uint32_t b = 0; b < 9; ++b) {  // of very different magnitudes
    const double scale = std::pow(10.0, b) * 1e-5;
    blocks.push_back(random_values<float>(size, b, -scale, scale));
    for (index_t i = 0; i < size; ++i) exact[i] += blocks.back()[i];
  }
  std::vector<float> first;
  for (int order = 0; order < 4; ++order) {
    const View1<float> gradients("elastic::test::gradients", size);
    FixedPointGradients sums(gradients, kernels::fixed_point_limit(1), flag());
    sums.begin();
    for (const auto& block : blocks) {
      assign(gradients, block);
      sums.take(gradients);
      for (const float g : to_host(gradients)) ASSERT_EQ(g, 0) << "what was taken stays";
    }
    sums.finish();
    if (order == 0) first = to_host(gradients);
    EXPECT_TRUE(bitwise_equal(to_host(gradients), first)) << "order " << order;
    std::rotate(blocks.begin(), blocks.begin() + 2, blocks.end());
  }
  for (index_t i = 0; i < size; ++i)
    EXPECT_NEAR(first[i], exact[i], 9 * unit + std::abs(exact[i]) * tolerance<float>(1));
}

TEST(FixedPointGradients, TakesPartsAndLeavesTheRest) {
  const auto gradients = to_device(std::vector<float>{1, 2, 3, 4, 5});
  FixedPointGradients sums(gradients, kernels::fixed_point_limit(1), flag());
  sums.take(part(gradients, 1, 3));
  EXPECT_EQ(to_host(gradients), (std::vector<float>{1, 0, 0, 4, 5}));
  assign(gradients, std::vector<float>{1, 10, 20, 4, 5});
  sums.take(part(gradients, 2, 5));
  sums.finish();  // added to what was never taken
  EXPECT_EQ(to_host(gradients), (std::vector<float>{1, 12, 23, 4, 5}));
  sums.begin();  // the next step starts at zero
  sums.finish();
  EXPECT_EQ(to_host(gradients), (std::vector<float>{0, 0, 0, 0, 0}));
}

TEST(FixedPointGradients, KnowsItsBuffer) {
  const View1<float> gradients("elastic::test::gradients", 5), other("elastic::test::other", 5);
  const FixedPointGradients sums(gradients, 1, flag());
  EXPECT_TRUE(sums.is_of(gradients));
  EXPECT_FALSE(sums.is_of(other));
  EXPECT_TRUE(sums.holds(part(gradients, 0, 1)));
  EXPECT_TRUE(sums.holds(part(gradients, 4, 5)));
  EXPECT_FALSE(sums.holds(other));
}

TEST(FixedPointGradients, TermsOutOfRangeRaiseTheFlag) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 4.5f, -4.5f}) {
    const auto gradients = to_device(std::vector<float>{1, bad});
    const auto overflow = flag();
    FixedPointGradients sums(gradients, 4, overflow);
    sums.take(part(gradients, 0, 1));
    EXPECT_EQ(to_host(overflow)[0], 0);
    sums.take(part(gradients, 1, 2));
    EXPECT_EQ(to_host(overflow)[0], 1) << bad;
    sums.finish();
    EXPECT_EQ(to_host(gradients)[0], 1);
    EXPECT_TRUE(std::isnan(to_host(gradients)[1])) << "nobody can tell which it was";
  }
}

TEST(BlockGradients, LeadsEachPartToItsBuffer) {
  const auto model = to_device(std::vector<float>{1, 2}), masks = to_device(std::vector<float>{3});
  FixedPointGradients model_sums(model, 100, flag()), mask_sums(masks, 100, flag());
  BlockGradients blocks({&model_sums, &mask_sums});
  blocks.take(masks);
  blocks.take(part(model, 1, 2));
  blocks.take(View1<float>());  // nothing
  EXPECT_EQ(to_host(mask_sums.sums())[0], index_t{3} << kernels::fixed_point_bits);
  EXPECT_EQ(to_host(model_sums.sums()),
            (std::vector<index_t>{0, index_t{2} << kernels::fixed_point_bits}));
  const View1<float> stray("elastic::test::stray", 3);
  EXPECT_THROW(blocks.take(stray), ContractError);
}

}  // namespace
}  // namespace elastic::test
