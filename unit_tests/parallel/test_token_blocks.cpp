// SPDX-License-Identifier: Apache-2.0
// Blocks of tokens are equal parts of the rows of whatever has some for each token.
#include "parallel/token_blocks.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

TEST(TokenBlock, IsItsPartOfTheRows) {
  const auto all = to_device(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 6, 2);
  const TokenBlock second{1, 3};
  EXPECT_TRUE(bitwise_equal(second.of(all), std::vector<float>{4, 5, 6, 7}));
  EXPECT_EQ(second.of(all).data(), all.data() + 4) << "a View of the same memory";
  const auto vector = to_device(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_TRUE(bitwise_equal(second.of(vector), std::vector<float>{3, 4, 5}));
}

TEST(TokenBlock, TheOnlyOneIsEverything) {
  const auto all = random_matrix<double>(5, 3, 1);
  EXPECT_TRUE(bitwise_equal(TokenBlock{}.of(all), to_host(all)));
}

TEST(TokenBlock, OfAnAbsentViewIsAbsent) {
  const TokenBlock block{2, 4};
  EXPECT_EQ(block.of(View1<float>()).size(), 0u);
  EXPECT_EQ(block.of(View2<float>()).size(), 0u);
}

TEST(TokenBlock, PartsCoverAllRowsOnce) {
  const View2<int> all("elastic::test::all", 12, 2);
  for (index_t i = 0; i < 4; ++i) {
    const auto part = TokenBlock{i, 4}.of(all);
    Kokkos::deep_copy(part, static_cast<int>(i) + to_host(part)[0] + 1);
  }
  const auto values = to_host(all);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<int>(i / 6) + 1);
}

TEST(BlockSums, RefuseAPrecisionThatTheyDoNotKeep) {
  class SingleSums final : public BlockSums {
   public:
    using BlockSums::take;
    void take(const View1<float>& gradient) override { Kokkos::deep_copy(gradient, 0.0f); }
  } sums;
  const auto single = random_vector<float>(3, 1);
  sums.take(single);
  EXPECT_TRUE(bitwise_equal(single, std::vector<float>(3, 0)));
  EXPECT_THROW(sums.take(random_vector<double>(3, 1)), ContractError);
}

}  // namespace
}  // namespace elastic::test
