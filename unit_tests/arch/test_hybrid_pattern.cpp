// SPDX-License-Identifier: Apache-2.0
// From a pattern of symbols to the layers of a parent.
#include "arch/hybrid_pattern.hpp"

#include <gmock/gmock.h>

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig with_pattern(const std::string& pattern) {
  ModelConfig config;
  config.hybrid_layer_pattern = pattern;
  return config;
}

TEST(HybridPattern, SymbolsBecomeLayers) {
  auto config = with_pattern(" M-\n* ");
  config.mamba_num_heads = 6;
  config.mamba_num_groups = 3;
  config.mamba_head_dim = 5;
  config.num_attention_heads = 8;
  config.num_query_groups = 4;
  config.kv_channels = 7;
  config.ffn_hidden_size = 33;
  const auto shape = elastic::make_shape(config);
  EXPECT_EQ(shape.pattern(), "M-*");
  EXPECT_EQ(shape.layers[0], (LayerShape{LayerKind::mamba, 6, 5, 3}));
  EXPECT_EQ(shape.layers[1], (LayerShape{LayerKind::mlp, 33, 1, 1}));
  EXPECT_EQ(shape.layers[2], (LayerShape{LayerKind::attention, 8, 7, 4}));
}

TEST(HybridPattern, MistakesAreNamed) {
  const auto make = [](const ModelConfig& config) { return [=] { elastic::make_shape(config); }; };
  EXPECT_THAT(make(with_pattern("M-E")),
              ThrowsMessage<InputError>(HasSubstr("symbol 'E' at position 3")));
  EXPECT_THAT(make(with_pattern("  ")), ThrowsMessage<InputError>(HasSubstr("empty")));
  auto config = with_pattern("M");
  config.mamba_num_groups = 3;
  EXPECT_THAT(make(config), ThrowsMessage<InputError>(HasSubstr("not divisible")));
}

}  // namespace
}  // namespace elastic::test
