// SPDX-License-Identifier: Apache-2.0
// The two internals of the norms: the factor, rounded once, and the sums of parameter gradients
// over blocks of tokens.
#include "kernels/rows/norm_gradients.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/rmsnorm.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

TEST(NormFactor, IsTheInverseRootOfTheMeanSquare) {
  const NormFactor norm = norm_factor(RmsNormParams{.epsilon = 0.25, .mean_width = 8, .scale = 3});
  EXPECT_EQ(norm.rstd(14), 1 / std::sqrt(2.0));
  EXPECT_EQ(norm.rstd(0), 2);
  EXPECT_EQ(norm.scale, 3);
}

/// A masked norm divides by D and scales by sqrt(D_i/D), the small model's divides by D_i: both
/// round to the same float.
TEST(NormFactor, OfTheMaskedNormRoundsLikeThatOfThePrefix) {
  index_t different = 0;
  for (index_t i = 0; i < 2000; ++i) {
    const double squares = 1000 * random_uniform({1, RandomPurpose::test}, i), kept = 176,
                 full = 256;
    const auto factor = [&](const RmsNormParams& params) {
      const NormFactor norm = norm_factor(params);
      return static_cast<float>(norm.scale * norm.rstd(squares));
    };
    const float cut = factor({1e-5, kept, 1}),
                masked = factor({1e-5 * kept / full, full, std::sqrt(kept / full)});
    different += cut == masked ? 0 : 1;
  }
  EXPECT_EQ(different, 0);
}

TEST(NormGradients, BlocksOfTokensHavePartsOfTheirOwn) {
  const index_t width = 5, groups = 2, tokens = 2 * rows_per_block + 1;
  const index_t sums_of_rows = on_host ? 0 : tokens * groups;
  EXPECT_EQ(norm_gradients_size(tokens, width, groups), 3 * (2 * width + groups) + sums_of_rows);
  EXPECT_EQ(norm_gradients_size(0, width, groups), 0);
  std::vector<float> memory(norm_gradients_size(tokens, width, groups), 7);
  const NormGradients<float> second(memory.data(), 1, width, groups);
  EXPECT_EQ(second.weight - memory.data(), 12);
  EXPECT_EQ(second.mask - second.weight, width);
  EXPECT_EQ(second.scale - second.mask, width);
  second.clear();
  for (index_t i = 0; i < 36; ++i) EXPECT_EQ(memory[i], i / 12 == 1 ? 0 : 7) << i;
}

/// Where the sums of a test go.
template <class T>
struct Gradients {
  View1<T> dweight, dmask, dscale;
};

template <class T>
class NormGradientsTest : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(NormGradientsTest, Scalars);

TYPED_TEST(NormGradientsTest, AddTheBlocksInOrderToWhatIsThere) {
  using T = TypeParam;
  const index_t width = 1100, groups = 3, blocks = 4, size = 2 * width + groups;
  const auto memory = random_vector<T>(blocks * size, 1);
  const Gradients<T> gradients{random_vector<T>(width, 2), random_vector<T>(width, 3),
                               random_vector<T>(groups, 4)};
  auto weight = to_host(gradients.dweight), mask = to_host(gradients.dmask),
       scale = to_host(gradients.dscale);
  const auto m = to_host(memory);
  for (index_t b = 0; b < blocks; ++b) {
    for (index_t j = 0; j < width; ++j) weight[j] += m[b * size + j];
    for (index_t j = 0; j < width; ++j) mask[j] += m[b * size + width + j];
    for (index_t g = 0; g < groups; ++g) scale[g] += m[b * size + 2 * width + g];
  }
  add_norm_gradients<T>(ExecutionSpace(), memory, blocks, width, gradients, groups);
  if (on_host) {
    EXPECT_TRUE(bitwise_equal(to_host(gradients.dweight), weight));
    EXPECT_TRUE(bitwise_equal(to_host(gradients.dmask), mask));
    EXPECT_TRUE(bitwise_equal(to_host(gradients.dscale), scale));
  }
  EXPECT_TRUE(near(gradients.dweight, weight, tolerance<T>(blocks)));
  EXPECT_TRUE(near(gradients.dmask, mask, tolerance<T>(blocks)));
  EXPECT_TRUE(near(gradients.dscale, scale, tolerance<T>(blocks)));
}

TYPED_TEST(NormGradientsTest, AbsentOnesAreLeftOut) {
  using T = TypeParam;
  const auto memory = random_vector<T>(2 * 9, 1);
  const Gradients<T> only_scale{{}, {}, View1<T>("elastic::test::dscale", 1)};
  add_norm_gradients<T>(ExecutionSpace(), memory, 2, 4, only_scale);
  const auto m = to_host(memory);
  EXPECT_EQ(to_host(only_scale.dscale)[0], m[8] + m[17]);
}

}  // namespace
}  // namespace elastic::kernels
