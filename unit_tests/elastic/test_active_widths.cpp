// SPDX-License-Identifier: Apache-2.0
// Hard widths: exact prefixes, and 0/1 masks in the full width with the corrected norms.
#include "elastic/active_widths.hpp"

#include <gmock/gmock.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

SubmodelSpec half() {
  return {
      .name = "half", .hidden_size = 9, .layers = {{4, 3}, {7, 1}, {2, 3}, {6, 4, false}, {10, 1}}};
}

TEST(PrefixWidths, ExactExtentsWithoutMasks) {
  const auto widths = prefix_widths<float>(small_shape(), half());
  EXPECT_EQ(widths.hidden, 9);
  EXPECT_EQ(widths.norm.params.mean_width, 9);
  EXPECT_EQ(widths.norm.params.scale, 1);
  EXPECT_EQ(widths.norm.params.epsilon, 1e-5);
  EXPECT_EQ(widths.hidden_mask.value.size(), 0u);
  EXPECT_EQ(widths.layers[0].width, 4);
  EXPECT_EQ(widths.layers[0].head_channels, 3);
  EXPECT_EQ(widths.layers[0].gated_norm.params.mean_width, 6) << "4 heads x 3 channels in 2 groups";
  EXPECT_EQ(widths.layers[2].head_channels, 3);
  EXPECT_EQ(widths.layers[1].width, 7);
  EXPECT_FALSE(widths.layers[3].active);
  EXPECT_TRUE(widths.layers[4].active);
  for (const auto& layer : widths.layers) {
    EXPECT_EQ(layer.inner.value.size() + layer.heads.value.size() + layer.dgamma.size(), 0u);
    EXPECT_EQ(layer.gamma, layer.active ? 1.0f : 0.0f);
  }
}

TEST(MaskedWidths, FullExtentsAndZeroOneMasks) {
  const auto widths = masked_widths<double>(small_shape(), half());
  EXPECT_EQ(widths.hidden, 12);
  EXPECT_THAT(to_host(widths.hidden_mask.value), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0));
  EXPECT_EQ(widths.norm.params.mean_width, 12);
  EXPECT_DOUBLE_EQ(widths.norm.params.epsilon, 1e-5 * 0.75);
  EXPECT_DOUBLE_EQ(widths.norm.params.scale, std::sqrt(0.75));
  const auto& mamba = widths.layers[0];
  EXPECT_EQ(mamba.width, 6);
  EXPECT_EQ(mamba.head_channels, 4);
  EXPECT_THAT(to_host(mamba.heads.value), ElementsAre(1, 1, 1, 1, 0, 0));
  EXPECT_THAT(to_host(mamba.inner.value),
              ElementsAre(1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_EQ(mamba.gated_norm.params.mean_width, 12);
  EXPECT_DOUBLE_EQ(mamba.gated_norm.params.scale, std::sqrt(0.5));
  EXPECT_THAT(to_host(widths.layers[2].inner.value), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(to_host(widths.layers[1].inner.value), ElementsAre(1, 1, 1, 1, 1, 1, 1, 0, 0, 0));
  EXPECT_TRUE(widths.layers[3].active);
  EXPECT_EQ(widths.layers[3].gamma, 0);
  EXPECT_EQ(widths.hidden_mask.gradient.size() + mamba.dgamma.size() + mamba.inner.gradient.size(),
            0u);
}

TEST(MaskedWidths, GradientsWhereWanted) {
  const auto widths = masked_widths<float>(small_shape(), half(), true);
  EXPECT_EQ(widths.hidden_mask.gradient.size(), 12u);
  EXPECT_EQ(widths.norm.dscale.size(), 1u);
  EXPECT_EQ(widths.layers[0].inner.gradient.size(), 24u);
  EXPECT_EQ(widths.layers[0].heads.gradient.size(), 6u);
  EXPECT_EQ(widths.layers[0].gated_norm.dscale.size(),
            static_cast<std::size_t>(small_shape().layers[0].num_groups));
  EXPECT_EQ(widths.layers[4].dgamma.size(), 1u);
}

TEST(MaskedWidths, NormOfMaskedChannelsIsTheNormOfThePrefix) {
  const auto shape = small_shape();
  const auto masked = masked_widths<double>(shape, half()).norm.params;
  const auto exact = prefix_widths<double>(shape, half()).norm.params;
  const auto x = random_values<double>(9, 3, -1e-2, 1e-2);  // small, so that epsilon matters
  double squares = 0;
  for (const double v : x) squares += v * v;
  EXPECT_NEAR(masked.scale / std::sqrt(squares / masked.mean_width + masked.epsilon),
              exact.scale / std::sqrt(squares / exact.mean_width + exact.epsilon), 1e-11);
}

TEST(ActiveWidths, InvalidSpecIsRefused) {
  auto spec = half();
  spec.layers[0].width = 3;
  EXPECT_THROW(prefix_widths<float>(small_shape(), spec), InputError);
  EXPECT_THROW(masked_widths<float>(small_shape(), spec), InputError);
}

}  // namespace
}  // namespace elastic::test
