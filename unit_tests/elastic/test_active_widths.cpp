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

TEST(PrefixWidths, UnitsOfAllRanksAreTheKeptOnes) {
  const auto shape = small_shape();
  const auto spec = half();
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    index_t width = 0;
    for (const int rank : {0, 1}) {
      const auto part = prefix_widths<float>(shape, spec, Shard{rank, 2});
      width += part.layers[l].width;
      EXPECT_EQ(part.hidden, 9) << "whole on every rank";
      EXPECT_EQ(part.layers[l].head_channels, spec.layers[l].head_channels);
      EXPECT_EQ(part.layers[l].gated_norm.params.mean_width,
                prefix_widths<float>(shape, spec).layers[l].gated_norm.params.mean_width)
          << "a group is whole on its rank";
    }
    EXPECT_EQ(width, spec.layers[l].width);
  }
}

TEST(MaskedWidths, MasksOfAllRanksAreThatOfOneInTurn) {
  const auto shape = small_shape();
  const auto whole = masked_widths<double>(shape, half(), true);
  for (const int rank : {0, 1}) {
    const auto part = masked_widths<double>(shape, half(), true, Shard{rank, 2});
    for (std::size_t l = 0; l < part.layers.size(); ++l) {
      const auto all = to_host(whole.layers[l].inner.value),
                 mine = to_host(part.layers[l].inner.value);
      const auto block = all.size() / static_cast<std::size_t>(shape.layers[l].width);
      ASSERT_EQ(2 * mine.size(), all.size());
      for (std::size_t i = 0; i < mine.size(); ++i)
        EXPECT_EQ(mine[i],
                  all[(2 * (i / block) + static_cast<std::size_t>(rank)) * block + i % block]);
    }
    EXPECT_EQ(part.layers[0].gated_norm.dscale.size(), 1u) << "one of the two groups";
  }
}

TEST(MaskedWidths, FullSpecMasksNothing) {
  const auto shape = small_shape();
  const auto widths = masked_widths<double>(shape, full_spec(shape));
  EXPECT_THAT(to_host(widths.hidden_mask.value), testing::Each(1.0));
  EXPECT_EQ(widths.norm.params.scale, 1);
  EXPECT_EQ(widths.norm.params.epsilon, shape.norm_epsilon);
  for (const auto& layer : widths.layers) {
    EXPECT_THAT(to_host(layer.inner.value), testing::Each(1.0));
    EXPECT_THAT(to_host(layer.heads.value), testing::Each(1.0));
    EXPECT_EQ(layer.gamma, 1);
  }
}

TEST(MaskedWidths, MasksCountWhatPrefixesKeep) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    auto [draw, shape, space, decisions] = RandomCase(seed);
    const auto spec = spec_of_choices(shape, space, decisions, random_choices(draw, decisions));
    const auto masked = masked_widths<double>(shape, spec);
    const auto prefixed = prefix_widths<double>(shape, spec);
    const auto ones = [](const View1<double>& mask) {
      double sum = 0;
      for (const double m : to_host(mask)) sum += m;
      return sum;
    };
    EXPECT_EQ(ones(masked.hidden_mask.value), prefixed.hidden);
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      const auto& kept = prefixed.layers[l];
      const bool by_channel = masked.layers[l].heads.value.size() > 0;
      EXPECT_EQ(ones(masked.layers[l].inner.value),
                kept.width * (by_channel ? kept.head_channels : 1));
      EXPECT_EQ(masked.layers[l].gamma, spec.layers[l].keep ? 1 : 0);
    }
  }
}

}  // namespace
}  // namespace elastic::test
