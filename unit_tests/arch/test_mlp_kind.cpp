// SPDX-License-Identifier: Apache-2.0
// The description of the MLP: two matrices, no cache, no messages, neither channels nor groups.
#include "unit_tests/arch/kind_checks.hpp"

namespace elastic::test {
namespace {

const LayerDescription& mlp() { return *find_layer_kind('-'); }

TEST(MlpKind, PartsFitTogether) { check_kind(mlp()); }

TEST(MlpKind, TensorsInOrder) {
  const auto infos = layer_tensors(one_of(mlp()), 0);  // D 23, F 29
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].name, "layers.0.mixer.up_proj");
  EXPECT_EQ(infos[0].rows, 29);
  EXPECT_EQ(infos[0].row_dim, Dim::ffn);
  EXPECT_EQ(infos[0].row_unit, 1);
  EXPECT_EQ(infos[1].name, "layers.0.mixer.down_proj");
  EXPECT_EQ(infos[1].column_dim, Dim::ffn);
  EXPECT_EQ(infos[1].column_unit, 1);
  EXPECT_EQ(infos[1].initial, InitialLaw::residual);
}

TEST(MlpKind, RemembersNothingAndAsksNobody) {
  const auto shape = one_of(mlp());
  EXPECT_EQ(mlp().cache_kind, CacheKind::nothing);
  EXPECT_EQ(mlp().cache(shape, mlp().extents(shape, shape.layers[0]), 1000), 0);
  EXPECT_EQ(mlp().messages, nullptr);
}

TEST(MlpKind, MemoryByHand) {
  const auto shape = one_of(mlp());
  const auto memory = mlp().memory(shape, shape.layers[0],
                                   {.batch = 3, .seq_length = 4, .partial_sums = 7}, no_workspaces);
  EXPECT_EQ(memory.forward, 2 * 12 * 29);
  EXPECT_EQ(memory.backward, 12 * 29 + 7 * 12 * 23);
}

TEST(MlpKind, ChannelsAndGroupsAreRefused) {
  for (const bool groups : {false, true}) {
    auto shape = one_of(mlp());
    shape.layers[0].width = 28;
    (groups ? shape.layers[0].num_groups : shape.layers[0].head_channels) = 2;
    EXPECT_THAT([&] { check_shape(shape); },
                testing::ThrowsMessage<InputError>(testing::HasSubstr(
                    groups ? "MLP layers have no groups" : "MLP layers have no head channels")));
  }
}

}  // namespace
}  // namespace elastic::test
