// SPDX-License-Identifier: Apache-2.0
// The list of kinds: what is in it, what is asked of it, and what may be added.
#include "arch/layer_kind.hpp"

#include <set>

#include "unit_tests/arch/kind_checks.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

TEST(LayerKinds, BuiltInKindsComeFirst) {
  const auto kinds = layer_kinds();
  ASSERT_GE(kinds.size(), 3u);
  EXPECT_EQ(kinds[0]->symbol(), 'M');
  EXPECT_EQ(kinds[1]->symbol(), '*');
  EXPECT_EQ(kinds[2]->symbol(), '-');
  EXPECT_THAT(list_layer_kinds(), StartsWith("M (Mamba-2), * (attention)"));
  EXPECT_THAT(list_layer_kinds(), HasSubstr(" or "));
}

TEST(LayerKinds, AreFoundBySymbol) {
  for (const auto* kind : layer_kinds()) {
    EXPECT_EQ(find_layer_kind(kind->symbol()), kind);
    EXPECT_EQ(&description_of(kind->kind), kind);
    EXPECT_EQ(kind_of_symbol(kind->symbol()), kind->kind);
  }
  EXPECT_EQ(find_layer_kind('?'), nullptr);
  EXPECT_THAT([] { kind_of_symbol('?'); },
              ThrowsMessage<InputError>(HasSubstr("layer kind '?' is unknown, expected M (")));
}

TEST(LayerKinds, NothingIsSharedThatMustBeDifferent) {
  std::set<std::string> types;
  std::size_t count = 0;
  for (const auto* kind : layer_kinds()) {
    for (const char* type : kind->hf.types) types.insert(type);
    count += kind->hf.types.size();
    std::set<std::string> names;
    for (const auto& tensor : kind->tensors) names.insert(tensor.name);
    EXPECT_EQ(names.size(), kind->tensors.size()) << kind->name;
  }
  EXPECT_EQ(types.size(), count);
}

/// Those with the same name of Hugging Face lie below each other: they must have equal columns.
TEST(LayerKinds, PartsOfOneTensorFitBelowEachOther) {
  for (const auto* kind : layer_kinds()) {
    const auto infos = layer_tensors(one_of(*kind), 0);
    for (std::size_t a = 0; a < infos.size(); ++a)
      for (std::size_t b = 0; b < a; ++b)
        if (std::string(kind->tensors[a].hf_tensor) == kind->tensors[b].hf_tensor) {
          EXPECT_EQ(infos[a].vector, infos[b].vector) << infos[a].name;
          if (!infos[a].vector) {
            EXPECT_EQ(infos[a].columns, infos[b].columns) << infos[a].name;
          }
        }
  }
}

TEST(LayerKinds, KeysOfTheDeckSayWhichExtentsThereAre) {
  for (const auto* kind : layer_kinds()) {
    const LayerShape layer = one_of(*kind).layers[0];
    if (!kind->deck.head_channels) {
      EXPECT_EQ(layer.head_channels, 1) << kind->name;
    }
    if (!kind->deck.num_groups) {
      EXPECT_EQ(layer.num_groups, 1) << kind->name;
    }
    EXPECT_EQ(kind->hf.head_channels.names.empty(), !kind->deck.head_channels) << kind->name;
    EXPECT_EQ(kind->hf.num_groups.names.empty(), !kind->deck.num_groups) << kind->name;
  }
}

TEST(LayerKinds, IncompleteAndRepeatedDescriptionsAreRefused) {
  EXPECT_THROW(add_layer_kind(mlp_kind()), ContractError);
  LayerDescription incomplete = mlp_kind();
  incomplete.kind = static_cast<LayerKind>('?');
  incomplete.memory = nullptr;
  EXPECT_THAT([&] { add_layer_kind(incomplete); },
              ThrowsMessage<ContractError>(HasSubstr("'?' lacks a formula")));
  EXPECT_EQ(find_layer_kind('?'), nullptr);
}

TEST(LayerKinds, FirstLayerOfAKind) {
  ModelConfig config;
  config.hybrid_layer_pattern = "-M-";
  auto shape = make_shape(config);
  shape.layers[2].width = 7;
  EXPECT_EQ(first_of_kind(shape, *find_layer_kind('-')), &shape.layers[0]);
  EXPECT_EQ(first_of_kind(shape, *find_layer_kind('M')), &shape.layers[1]);
  EXPECT_EQ(first_of_kind(shape, *find_layer_kind('*')), nullptr);
}

TEST(LayerKinds, ExtentsOfALayerAsRealNumbers) {
  const auto& mamba = *find_layer_kind('M');
  auto shape = one_of(mamba);
  const auto e = mamba.extents(shape, shape.layers[0]);
  EXPECT_EQ(e.hidden, 23);
  EXPECT_EQ(e.width, 6);
  EXPECT_EQ(e.inner, 30);
  EXPECT_EQ(e.side, 2 * 2 * 7);
  const auto& attention = *find_layer_kind('*');
  EXPECT_EQ(attention.side(shape, 3, 2.5), 15) << "channels may be fractional";
  EXPECT_EQ(find_layer_kind('-')->side(shape, 1, 1), 0);
}

TEST(LayerTensors, NamesHoldTheIndexOfTheLayer) {
  ModelConfig config;
  config.hybrid_layer_pattern = "M-*-";
  const auto shape = make_shape(config);
  EXPECT_EQ(layer_tensors(shape, 3)[1].name, "layers.3.mixer.down_proj");
  EXPECT_EQ(layer_tensors(shape, 3)[1].layer, 3);
  EXPECT_THROW(layer_tensors(shape, 4), std::out_of_range);
}

}  // namespace
}  // namespace elastic::test
