// SPDX-License-Identifier: Apache-2.0
// Allowed widths, their rules, and the decisions that follow.
#include <gmock/gmock.h>

#include <set>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

std::string error_of(const ModelShape& shape, const ElasticSpace& space) {
  try {
    check_space(shape, space);
  } catch (const InputError& error) {
    return error.what();
  }
  return "valid";
}

TEST(ElasticSpace, RigidSpaceDecidesNothing) {
  const auto shape = small_shape();
  EXPECT_EQ(error_of(shape, rigid_space(shape)), "valid");
  EXPECT_TRUE(list_decisions(shape, rigid_space(shape)).empty());
  EXPECT_TRUE(spec_of_choices(shape, rigid_space(shape), {}, {}).same_widths(full_spec(shape)));
  EXPECT_EQ(rigid_space(shape).ffn.widths, std::vector<index_t>{10});
}

TEST(ElasticSpace, UnequalLayersMayStayRigid) {
  auto shape = small_shape();
  shape.layers[4].width = 8;
  auto space = rigid_space(shape);
  EXPECT_EQ(error_of(shape, space), "valid");
  EXPECT_EQ(spec_of_choices(shape, space, {}, {}).layers[4].width, 8);
  space.ffn.widths = {10, 5};
  EXPECT_THAT(error_of(shape, space), testing::HasSubstr("layers 1 and 4 differ"));
}

TEST(ElasticSpace, ErrorsNameAxisAndWidth) {
  const auto message = [](auto change) {
    auto space = small_space(false);
    change(space);
    return error_of(small_shape(), space);
  };
  EXPECT_EQ(message([](ElasticSpace&) {}), "valid");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.mamba_heads.widths = {6, 3};
            }),
            "elastic axis mamba_heads: width 3 is not a multiple of the 2 groups; the nearest "
            "valid one is 4");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.hidden.widths = {9, 5};
            }),
            "elastic axis hidden: the first width is 9, expected the full one, 12");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.ffn.widths = {10, 5, 5};
            }),
            "elastic axis ffn: width 5 follows 5, expected falling widths");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.ffn.widths = {10, 0};
            }),
            "elastic axis ffn: width 0 is less than 1");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.depth.widths = {0, 5};
            }),
            "elastic axis depth: cannot drop 5 layers, at most 4");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.depth.widths = {1, 2};
            }),
            "elastic axis depth: the first choice drops 1 layers, expected 0");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.depth.widths = {0, 2, 1};
            }),
            "elastic axis depth: 1 follows 2, expected rising numbers");
  EXPECT_EQ(message([](ElasticSpace& s) {
              s.drop_order = {1, 1, 2};
            }),
            "elastic axis depth: layer 1 is listed twice in the drop order");
  EXPECT_EQ(message([](ElasticSpace& s) { s.drop_order[0] = 9; }),
            "elastic axis depth: layer 9 of 5 cannot be dropped");
  EXPECT_EQ(message([](ElasticSpace& s) { s.hidden.per_layer = true; }),
            "elastic axis hidden: one choice for the whole model, not per layer");
  EXPECT_THAT(error_of(small_shape("M-M-M"), small_space(false)),
              testing::HasSubstr("attention_heads: 2 widths, but the pattern M-M-M has no layer"));
}

TEST(ElasticSpace, DecisionsInFixedOrder) {
  const auto shape = small_shape();
  std::vector<std::pair<Axis, index_t>> order;
  for (const auto& d : list_decisions(shape, small_space(true)))
    order.emplace_back(d.axis, d.layer);
  const std::vector<std::pair<Axis, index_t>> expected = {{Axis::hidden, -1},
                                                          {Axis::mamba_heads, 0},
                                                          {Axis::mamba_heads, 3},
                                                          {Axis::mamba_head_channels, 0},
                                                          {Axis::mamba_head_channels, 3},
                                                          {Axis::attention_heads, 2},
                                                          {Axis::ffn, 1},
                                                          {Axis::ffn, 4},
                                                          {Axis::depth, -1}};
  EXPECT_EQ(order, expected);
  EXPECT_EQ(list_decisions(shape, small_space(false)).size(), 6u);
}

TEST(ElasticSpace, DecisionLayers) {
  const auto shape = small_shape();
  EXPECT_THAT(decision_layers(shape, {Axis::ffn, -1, {}}), testing::ElementsAre(1, 4));
  EXPECT_THAT(decision_layers(shape, {Axis::mamba_head_channels, -1, {}}),
              testing::ElementsAre(0, 3));
  EXPECT_THAT(decision_layers(shape, {Axis::ffn, 4, {}}), testing::ElementsAre(4));
  EXPECT_TRUE(decision_layers(shape, {Axis::hidden, -1, {}}).empty());
  EXPECT_TRUE(decision_layers(shape, {Axis::depth, -1, {}}).empty());
}

TEST(ElasticSpace, SpecOfChoices) {
  const auto shape = small_shape();
  const auto space = small_space(true);
  const auto decisions = list_decisions(shape, space);
  const auto spec = spec_of_choices(shape, space, decisions, {2, 0, 1, 2, 1, 1, 0, 2, 1});
  EXPECT_EQ(spec.hidden_size, 5);
  const std::vector<LayerWidths> expected = {{6, 1}, {10, 1}, {2, 3}, {4, 3, false}, {2, 1}};
  EXPECT_EQ(spec.layers, expected);
  EXPECT_THROW(spec_of_choices(shape, space, decisions, {0}), ContractError);
  EXPECT_THROW(spec_of_choices(shape, space, decisions, {3, 0, 0, 0, 0, 0, 0, 0, 0}),
               ContractError);
}

TEST(ElasticSpace, AxisAccess) {
  ElasticSpace space = small_space(false);
  space.axis(Axis::ffn).widths = {7};
  EXPECT_EQ(space.ffn.widths, std::vector<index_t>{7});
  EXPECT_EQ(space.axis(Axis::depth).widths.back(), 3);
  EXPECT_STREQ(axis_name(Axis::mamba_head_channels), "mamba_head_channels");
}

TEST(ElasticSpace, ChannelsAreChosenByOneAxis) {
  for (const Axis axis : all_axes)
    EXPECT_EQ(chooses_channels(axis), axis == Axis::mamba_head_channels) << axis_name(axis);
}

TEST(ElasticSpace, FirstChoicesAreTheParent) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    auto [draw, shape, space, decisions] = RandomCase(seed);
    const std::vector<index_t> first(decisions.size(), 0);
    EXPECT_TRUE(spec_of_choices(shape, space, decisions, first).same_widths(full_spec(shape)));
    for (const auto& decision : decisions) EXPECT_GE(decision.widths.size(), 2u);
  }
}

TEST(ElasticSpace, LaterChoicesAreNestedInEarlierOnes) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Draw draw(500 + seed);
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    const auto decisions = list_decisions(shape, space);
    auto choice = random_choices(draw, decisions);
    const auto outer = spec_of_choices(shape, space, decisions, choice);
    for (std::size_t d = 0; d < choice.size(); ++d)
      choice[d] = draw.between(choice[d], static_cast<index_t>(decisions[d].widths.size()) - 1);
    EXPECT_TRUE(is_nested(spec_of_choices(shape, space, decisions, choice), outer));
  }
}

TEST(ElasticSpace, PerLayerChoicesTouchTheirLayerOnly) {
  const auto shape = small_shape();
  const auto space = small_space(true);
  const auto decisions = list_decisions(shape, space);
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    if (decisions[d].layer < 0) continue;
    std::vector<index_t> choice(decisions.size(), 0);
    choice[d] = 1;
    const auto spec = spec_of_choices(shape, space, decisions, choice);
    for (index_t l = 0; l < shape.num_layers(); ++l)
      EXPECT_EQ(spec.layers[l] == full_spec(shape).layers[l], l != decisions[d].layer);
  }
}

TEST(ElasticSpace, ChoicesOutsideTheListsAreAContractError) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  const auto decisions = list_decisions(shape, space);
  std::vector<index_t> choice(decisions.size(), 0);
  for (const index_t bad : {index_t{-1}, index_t{3}}) {
    choice[0] = bad;
    EXPECT_THROW(spec_of_choices(shape, space, decisions, choice), ContractError);
  }
  EXPECT_THROW(spec_of_choices(shape, space, decisions, {0}), ContractError);
}

TEST(ElasticSpace, DepthMustLeaveALayer) {
  const auto shape = small_shape("M-");
  auto space = rigid_space(shape);
  space.drop_order = {0, 1};
  space.depth.widths = {0, 1};
  EXPECT_EQ(error_of(shape, space), "valid");
  space.depth.widths = {0, 2};
  EXPECT_THAT(error_of(shape, space), testing::HasSubstr("cannot drop 2 layers, at most 1"));
  space.depth.widths = {1};
  EXPECT_THAT(error_of(shape, space), testing::HasSubstr("expected 0"));
  space.depth = {{0, 1}, true};
  EXPECT_THAT(error_of(shape, space), testing::HasSubstr("not per layer"));
}

TEST(ElasticSpace, AxesWithoutLayersAreRefusedOnlyWhereTheyChoose) {
  const auto shape = small_shape("M");
  auto space = rigid_space(shape);
  space.ffn.widths = {10};
  EXPECT_EQ(error_of(shape, space), "valid");
  space.ffn.widths = {10, 5};
  EXPECT_THAT(error_of(shape, space), testing::HasSubstr("no layer of this kind"));
}

TEST(ElasticSpace, NextChoiceVisitsEveryChoiceOnce) {
  const auto shape = small_shape();
  const auto decisions = list_decisions(shape, small_space(false));
  std::size_t count = 1;
  for (const auto& decision : decisions) count *= decision.widths.size();
  std::vector<index_t> choice(decisions.size(), 0);
  std::set<std::vector<index_t>> seen;
  do {
    for (std::size_t d = 0; d < choice.size(); ++d)
      ASSERT_LT(choice[d], static_cast<index_t>(decisions[d].widths.size()));
    EXPECT_TRUE(seen.insert(choice).second);
  } while (next_choice(decisions, choice));
  EXPECT_EQ(seen.size(), count);
  std::vector<index_t> none;
  EXPECT_FALSE(next_choice({}, none));
}

}  // namespace
}  // namespace elastic::test
