// SPDX-License-Identifier: Apache-2.0
// Extents and the rules of valid shapes.
#include <gmock/gmock.h>

#include <cmath>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

TEST(ModelShape, PatternAndExtents) {
  const auto shape = small_shape();
  EXPECT_EQ(shape.pattern(), "M-*M-");
  EXPECT_EQ(shape.extent(Dim::hidden, -1), 12);
  EXPECT_EQ(shape.extent(Dim::mamba_heads, 3), 6);
  EXPECT_EQ(shape.extent(Dim::mamba_inner, 0), 24);
  EXPECT_EQ(shape.extent(Dim::attention_inner, 2), 12);
  EXPECT_EQ(shape.extent(Dim::ffn, 1), 10);
  EXPECT_EQ(shape.extent(Dim::fixed, 1), 0);
  EXPECT_THROW(shape.extent(Dim::ffn, 0), ContractError);
  EXPECT_THROW(shape.extent(Dim::mamba_heads, 5), ContractError);
}

TEST(ModelShape, InvalidShapesNameLayerAndRule) {
  const auto message = [](auto change) -> std::string {
    auto shape = small_shape();
    change(shape);
    try {
      check_shape(shape);
    } catch (const InputError& error) {
      return error.what();
    }
    return "valid";
  };
  EXPECT_EQ(message([](ModelShape&) {}), "valid");
  EXPECT_EQ(message([](ModelShape& s) { s.layers[3].width = 5; }),
            "layer 3 (M): width 5 is not divisible by its 2 groups");
  EXPECT_EQ(message([](ModelShape& s) { s.layers[1].width = 0; }),
            "layer 1 (-): width is 0, expected 1 to 268435456");
  EXPECT_THAT(message([](ModelShape& s) { s.layers[1].num_groups = 2; }),
              testing::HasSubstr("layer 1 (-)"));
  EXPECT_EQ(message([](ModelShape& s) { s.hidden_size = -1; }),
            "hidden size is -1, expected 1 to 268435456");
  EXPECT_EQ(message([](ModelShape& s) { s.vocab_size = index_t{1} << 33; }),
            "vocabulary size is 8589934592, expected 1 to 268435456");
  EXPECT_THAT(
      message([](ModelShape& s) { s.layers[0].width = s.layers[0].head_channels = 1 << 20; }),
      testing::HasSubstr("layer 0 (M): width * head_channels"));
  EXPECT_NE(message([](ModelShape& s) { s.layers.resize(2001, s.layers[1]); }), "valid");
  EXPECT_NE(message([](ModelShape& s) { s.norm_epsilon = HUGE_VAL; }), "valid");
  EXPECT_NE(message([](ModelShape& s) { s.norm_epsilon = std::nan(""); }), "valid");
  EXPECT_NE(message([](ModelShape& s) { s.layers.clear(); }), "valid");
  EXPECT_NE(message([](ModelShape& s) { s.norm_epsilon = 0; }), "valid");
  EXPECT_NE(message([](ModelShape& s) { s.layers[0].kind = static_cast<LayerKind>('E'); }),
            "valid");
}

TEST(ModelShape, PublishedPatterns) {
  for (const auto& [shape, layers] :
       {std::pair{nemotron_12b(), 62}, {nemotron_9b(), 56}, {nemotron_4b(), 42}}) {
    EXPECT_EQ(shape.num_layers(), layers);
    EXPECT_NO_THROW(check_shape(shape));
  }
}

}  // namespace
}  // namespace elastic::test
