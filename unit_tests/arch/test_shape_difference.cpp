// SPDX-License-Identifier: Apache-2.0
// Every field in which a file may differ from a deck is named with both values.
#include "arch/shape_difference.hpp"

#include <gmock/gmock.h>

#include "arch/hybrid_pattern.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const ModelConfig deck;  // M-M*-

/// The differences of a file whose model was made with `change`.
template <class Change>
std::vector<std::string> differences(const Change& change) {
  ModelConfig file = deck;
  change(file);
  return shape_differences(make_shape(deck), make_shape(file));
}

TEST(ShapeDifference, EveryFieldByItself) {
  using Config = ModelConfig;
  EXPECT_THAT(differences([](Config&) {}), IsEmpty());
  EXPECT_THAT(differences([](Config& c) { c.chunk_size = 16; }), IsEmpty());
  EXPECT_THAT(differences([](Config& c) { c.hidden_size = 96; }),
              ElementsAre("<model>/hidden_size: 128 in the deck, 96 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.norm_epsilon = 1e-6; }),
              ElementsAre("<model>/norm_epsilon: 1e-05 in the deck, 1e-06 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.vocab_size = 64; }),
              ElementsAre("<data>/vocab_size: 256 in the deck, 64 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.mamba_num_heads = 4; }),
              ElementsAre("<mamba>/num_heads: 8 in the deck, 4 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.mamba_head_dim = 16; }),
              ElementsAre("<mamba>/head_dim: 32 in the deck, 16 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.mamba_num_groups = 4; }),
              ElementsAre("<mamba>/num_groups: 2 in the deck, 4 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.mamba_state_dim = 16; }),
              ElementsAre("<mamba>/state_dim: 32 in the deck, 16 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.mamba_d_conv = 2; }),
              ElementsAre("<mamba>/d_conv: 4 in the deck, 2 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.num_attention_heads = 8; }),
              ElementsAre("<attention>/num_heads: 4 in the deck, 8 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.num_query_groups = 1; }),
              ElementsAre("<attention>/num_query_groups: 2 in the deck, 1 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.kv_channels = 64; }),
              ElementsAre("<attention>/kv_channels: 32 in the deck, 64 in the file"));
  EXPECT_THAT(differences([](Config& c) { c.ffn_hidden_size = 256; }),
              ElementsAre("<mlp>/ffn_hidden_size: 512 in the deck, 256 in the file"));
}

TEST(ShapeDifference, AllAtOnceAndWhere) {
  const auto several = differences([](ModelConfig& c) {
    c.hybrid_layer_pattern = "M-*-";
    c.hidden_size = 96;
    c.mamba_state_dim = 64;
  });
  EXPECT_THAT(several,
              ElementsAre("<model>/hybrid_layer_pattern: M-M*- in the deck, M-*- (4 layers, first "
                          "other one: layer 2) in the file",
                          "<model>/hidden_size: 128 in the deck, 96 in the file",
                          "<mamba>/state_dim: 32 in the deck, 64 in the file"));
  EXPECT_THAT(differences([](ModelConfig& c) { c.hybrid_layer_pattern = "M-M*-M"; }),
              ElementsAre("<model>/hybrid_layer_pattern: M-M*- in the deck, M-M*-M (6 layers, "
                          "first other one: layer 5) in the file"));
  ModelShape unequal = make_shape(deck);
  unequal.layers[4].width = 256;
  EXPECT_THAT(shape_differences(make_shape(deck), unequal),
              ElementsAre("<mlp>/ffn_hidden_size: 512 in the deck, 512 in layer 1, 256 in layer 4 "
                          "in the file"));
}

/// Extents of layers that neither model has decide nothing.
TEST(ShapeDifference, KindsWithoutLayers) {
  ModelConfig one = deck, other = deck;
  one.hybrid_layer_pattern = other.hybrid_layer_pattern = "*-";
  other.mamba_state_dim = 64;
  other.mamba_d_conv = 3;
  EXPECT_THAT(shape_differences(make_shape(one), make_shape(other)), IsEmpty());
}

}  // namespace
}  // namespace elastic::test
