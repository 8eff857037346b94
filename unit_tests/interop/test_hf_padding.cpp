// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_padding.hpp"

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

ModelShape shape_with(std::vector<LayerShape> layers) {
  return {.vocab_size = 5, .hidden_size = 3, .layers = std::move(layers)};
}
const LayerShape mlp4 = {LayerKind::mlp, 4}, mlp6 = {LayerKind::mlp, 6};
const LayerShape attention2 = {LayerKind::attention, 2, 3, 2},
                 attention6 = {LayerKind::attention, 6, 3, 2};
const LayerShape mamba4 = {LayerKind::mamba, 4, 2, 2}, mamba6 = {LayerKind::mamba, 6, 3, 2};

TEST(HfPadding, LayersOfAKindBecomeEqual) {
  const auto shape = shape_with({mlp4, attention2, mamba4, mlp6, attention6, mamba6});
  const LayerShape mamba = {LayerKind::mamba, 12, 6, 2};
  EXPECT_EQ(padded_shape(shape, WidthForm::padded),
            shape_with({mlp6, attention6, mamba, mlp6, attention6, mamba}));
  EXPECT_EQ(padded_shape(shape, WidthForm::per_layer),
            shape_with({mlp4, attention6, mamba, mlp6, attention6, mamba}));
  EXPECT_EQ(padded_shape(shape, WidthForm::heterogeneous), shape);
}

TEST(HfPadding, WhatNothingMakesEqual) {
  const auto error = [](LayerShape a, LayerShape b) {
    return message_of<InputError>([&] {
      padded_shape(shape_with({mlp4, a, b}), WidthForm::padded);
    });
  };
  LayerShape other = attention6;
  other.num_groups = 3;
  EXPECT_EQ(error(attention2, other),
            "layers 1 and 2 (attention) have 2 and 3 groups, which no padding makes equal");
  other = attention6;
  other.head_channels = 5;
  EXPECT_EQ(error(attention6, other),
            "layers 1 and 2 (attention) have 3 and 5 channels per head, which no padding makes "
            "equal");
  LayerShape large = {LayerKind::mamba, 100003, 9973, 1}, larger = {LayerKind::mamba, 9967, 1, 1};
  contains(error(large, larger), "channels, which no padding makes equal");
}

TEST(HfPadding, CopiesStandInTheirGroup) {
  const LayerShape padded = {LayerKind::mamba, 8, 4, 2};
  EXPECT_EQ(copies_of(mamba4, padded, Dim::mamba_heads), 2);
  EXPECT_EQ(copies_of(mamba4, padded, Dim::mamba_inner), 4);
  EXPECT_EQ(copies_of(mamba4, padded, Dim::hidden), 1);
  EXPECT_EQ(copies_of(attention2, attention6, Dim::attention_inner), 1);
  EXPECT_EQ(copies_of(mlp4, mlp6, Dim::ffn), 1);
  // Every channel of the padded layer is a copy of one in the same of the two groups, and each
  // channel has four of them.
  std::vector<int> copies(8 * 4, 0);
  for (index_t i = 0; i < mamba4.inner(); ++i)
    for (index_t copy = 0; copy < 4; ++copy) {
      const index_t place = padded_place(mamba4, padded, Dim::mamba_inner, i, copy);
      ++copies.at(place);
      EXPECT_EQ(place / 4 % 2, i / 2 % 2) << i << " " << copy;
      EXPECT_EQ(place / 4 % 4, i / 2);  // a head that also has the time step of this one
      EXPECT_EQ(place % 2, i % 2);
    }
  EXPECT_EQ(copies, std::vector<int>(8 * 4, 1));
  EXPECT_EQ(padded_place(mamba4, padded, Dim::mamba_heads, 3, 1), 7);
  EXPECT_EQ(padded_place(attention2, attention6, Dim::attention_inner, 4, 0), 4);
  EXPECT_EQ(padded_place(mlp4, mlp6, Dim::ffn, 3, 0), 3);
}

}  // namespace
}  // namespace elastic::test
