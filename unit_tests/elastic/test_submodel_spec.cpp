// SPDX-License-Identifier: Apache-2.0
// Prefixes, nestedness, slicing and the text forms of submodels.
#include <gmock/gmock.h>

#include "elastic/submodel_spec.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

SubmodelSpec small_spec() {
  return {.name = "half",
          .budget = 0.5,
          .hidden_size = 9,
          .layers = {{4, 3}, {7, 1}, {2, 3}, {6, 4, false}, {10, 1}}};
}

std::string error_of(const ModelShape& shape, const SubmodelSpec& spec) {
  try {
    check_spec(shape, spec);
  } catch (const InputError& error) {
    return error.what();
  }
  return "valid";
}

TEST(SubmodelSpec, FullIsTheParent) {
  const auto shape = small_shape();
  EXPECT_EQ(sliced_shape(shape, full_spec(shape)), shape);
  EXPECT_TRUE(is_nested(full_spec(shape), full_spec(shape)));
  EXPECT_EQ(error_of(shape, full_spec(shape)), "valid");
}

TEST(SubmodelSpec, ErrorsNameLayerAndNearestWidth) {
  const auto shape = small_shape();
  const auto message = [&](auto change) {
    auto spec = small_spec();
    change(spec);
    return error_of(shape, spec);
  };
  EXPECT_EQ(message([](SubmodelSpec&) {}), "valid");
  EXPECT_EQ(message([](SubmodelSpec& s) { s.layers[0].width = 5; }),
            "layer 0 (M): width is 5, expected 2 to 6 in steps of 2; the nearest valid one is 6");
  EXPECT_EQ(message([](SubmodelSpec& s) { s.layers[2].width = 0; }),
            "layer 2 (*): width is 0, expected 2 to 4 in steps of 2; the nearest valid one is 2");
  EXPECT_EQ(message([](SubmodelSpec& s) { s.hidden_size = 13; }),
            "hidden size is 13, expected 1 to 12; the nearest valid one is 12");
  EXPECT_EQ(message([](SubmodelSpec& s) { s.layers[0].head_channels = 5; }),
            "layer 0 (M): head channels is 5, expected 1 to 4; the nearest valid one is 4");
  EXPECT_THAT(message([](SubmodelSpec& s) { s.layers[2].head_channels = 2; }),
              testing::HasSubstr("those of attention are not elastic"));
  EXPECT_THAT(message([](SubmodelSpec& s) { s.layers.pop_back(); }),
              testing::HasSubstr("4 layers, its parent has 5"));
  EXPECT_THAT(message([](SubmodelSpec& s) {
                for (auto& l : s.layers) l.keep = false;
              }),
              testing::HasSubstr("drops every layer"));
}

TEST(SubmodelSpec, SlicedShape) {
  const auto sliced = sliced_shape(small_shape(), small_spec());
  EXPECT_EQ(sliced.pattern(), "M-*-");
  EXPECT_EQ(sliced.hidden_size, 9);
  EXPECT_EQ(sliced.layers[0], (LayerShape{LayerKind::mamba, 4, 3, 2}));
  EXPECT_EQ(sliced.layers[2], (LayerShape{LayerKind::attention, 2, 3, 2}));
  EXPECT_NO_THROW(check_shape(sliced));
}

TEST(SubmodelSpec, KeptIndices) {
  const auto shape = small_shape();
  const auto spec = small_spec();
  using testing::ElementsAre;
  EXPECT_THAT(kept_indices(shape, spec, Dim::mamba_inner, 0, 0),
              ElementsAre(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14));
  EXPECT_THAT(kept_indices(shape, spec, Dim::mamba_heads, 0, 0), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(kept_indices(shape, spec, Dim::attention_inner, 2, 0), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(kept_indices(shape, spec, Dim::ffn, 1, 0), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(kept_indices(shape, spec, Dim::fixed, 1, 3), ElementsAre(0, 1, 2));
  EXPECT_EQ(kept_indices(shape, spec, Dim::hidden, -1, 0).size(), 9u);
  EXPECT_TRUE(kept_indices(shape, spec, Dim::hidden, 3, 0).empty()) << "the layer is dropped";
}

TEST(SubmodelSpec, DescribesItself) {
  const auto shape = small_shape();
  EXPECT_EQ(describe(shape, full_spec(shape)), "hidden 12, M 6, - 10, * 4");
  EXPECT_EQ(describe(shape, small_spec()), "hidden 9, M 4x3, - 7 10, * 2, dropped 3");
}

TEST(SubmodelSpec, TextFormRoundTrips) {
  const auto shape = small_shape();
  const auto back = spec_from_json(shape, to_json(small_spec()));
  EXPECT_TRUE(back.same_widths(small_spec()));
  EXPECT_EQ(back.name, "half");
  EXPECT_EQ(back.budget, 0.5);
  EXPECT_LT(to_json(full_spec(nemotron_12b())).size(), 1024u) << "a further submodel costs bytes";
}

TEST(SubmodelSpec, TextFormThatDoesNotFitIsAnInputError) {
  const auto shape = small_shape();
  EXPECT_THROW(spec_from_json(small_shape("M-*M"), to_json(small_spec())), InputError);
  EXPECT_THROW(spec_from_json(shape, "{"), InputError);
  EXPECT_THROW(spec_from_json(shape, "{\"name\": \"a\"}"), InputError);
  EXPECT_THROW(spec_from_json(shape, "{\"name\": 3}"), InputError);
  auto spec = small_spec();
  spec.layers[0].width = 5;
  EXPECT_THROW(spec_from_json(shape, to_json(spec)), InputError);
}

/// Set inclusion of what is kept along every elastic dimension: the meaning of is_nested.
bool indices_nested(const ModelShape& shape, const SubmodelSpec& inner, const SubmodelSpec& outer) {
  const auto within = [&](Dim dim, index_t l) {
    const auto a = kept_indices(shape, inner, dim, l, 0), b = kept_indices(shape, outer, dim, l, 0);
    return std::includes(b.begin(), b.end(), a.begin(), a.end());
  };
  if (!within(Dim::hidden, -1)) return false;
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const auto kind = shape.layers[l].kind;
    if (kind == LayerKind::mlp && !within(Dim::ffn, l)) return false;
    if (kind == LayerKind::attention && !within(Dim::attention_inner, l)) return false;
    if (kind == LayerKind::mamba && !(within(Dim::mamba_inner, l) && within(Dim::mamba_heads, l)))
      return false;
  }
  return true;
}

TEST(SubmodelSpec, RandomSpecsKeepGroupsPrefixesAndNesting) {
  index_t nested = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    check_space(shape, space);
    const auto decisions = list_decisions(shape, space);
    const auto a = spec_of_choices(shape, space, decisions, random_choices(draw, decisions));
    const auto b = spec_of_choices(shape, space, decisions, random_choices(draw, decisions));
    ASSERT_NO_THROW(check_shape(sliced_shape(shape, a)));
    EXPECT_TRUE(is_nested(a, full_spec(shape)));
    EXPECT_EQ(is_nested(a, b), indices_nested(shape, a, b));
    nested += is_nested(a, b);
    for (index_t l = 0; l < shape.num_layers(); ++l) {
      const auto& layer = shape.layers[l];
      if (layer.kind != LayerKind::mamba || !a.layers[l].keep) continue;
      std::vector<index_t> in_group(layer.num_groups, 0);
      for (const index_t h : kept_indices(shape, a, Dim::mamba_heads, l, 0))
        ++in_group[h % layer.num_groups];
      EXPECT_THAT(in_group, testing::Each(a.layers[l].width / layer.num_groups));
    }
  }
  EXPECT_GT(nested, 10);
  EXPECT_LT(nested, 290);
}

TEST(SubmodelSpec, KindsAreDescribedInTheOrderOfTheirFirstLayers) {
  const auto text = [](const std::string& pattern) {
    const auto shape = small_shape(pattern);
    return describe(shape, full_spec(shape));
  };
  EXPECT_EQ(text("*M-"), "hidden 12, * 4, M 6, - 10");
  EXPECT_EQ(text("--M"), "hidden 12, - 10, M 6");
  auto shape = small_shape("-M-");
  auto spec = full_spec(shape);
  spec.layers[0].keep = spec.layers[2].keep = false;
  EXPECT_EQ(describe(shape, spec), "hidden 12, M 6, dropped 0 2");
}

TEST(SubmodelSpec, SuggestedWidthsAreValid) {
  const auto shape = small_shape();
  for (index_t width = -3; width < 12; ++width) {
    auto spec = full_spec(shape);
    spec.layers[0].width = width;
    const auto message = error_of(shape, spec);
    if (message == "valid") continue;
    const auto at = message.rfind(' ');
    spec.layers[0].width = std::stoll(message.substr(at + 1));
    EXPECT_EQ(error_of(shape, spec), "valid") << message;
  }
}

TEST(SubmodelSpec, NamesAndBudgetsAreNoWidths) {
  auto a = small_spec(), b = small_spec();
  b.name = "other";
  b.budget = 0.1;
  EXPECT_TRUE(a.same_widths(b));
  b.layers[3].keep = true;
  EXPECT_FALSE(a.same_widths(b));
}

TEST(SubmodelSpec, NestingNeedsEveryWidthAndEveryLayer) {
  const auto outer = small_spec();
  EXPECT_TRUE(is_nested(outer, outer));
  auto inner = outer;
  inner.hidden_size = 10;
  EXPECT_FALSE(is_nested(inner, outer));
  inner = outer;
  inner.layers[0].head_channels = 4;
  EXPECT_FALSE(is_nested(inner, outer));
  inner = outer;
  inner.layers[3].keep = true;
  EXPECT_FALSE(is_nested(inner, outer));
  inner = outer;
  inner.layers[1] = {10, 1, false};
  EXPECT_TRUE(is_nested(inner, outer)) << "a dropped layer has no weights";
}

TEST(SubmodelSpec, SlicesOfSlicesAreSlices) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Draw draw(900 + seed);
    auto shape = random_shape(draw);
    auto space = random_space(draw, shape);
    space.depth = {};  // indices of layers stay
    const auto decisions = list_decisions(shape, space);
    auto choice = random_choices(draw, decisions);
    const auto outer = spec_of_choices(shape, space, decisions, choice);
    for (std::size_t d = 0; d < choice.size(); ++d)
      choice[d] = draw.between(choice[d], static_cast<index_t>(decisions[d].widths.size()) - 1);
    const auto inner = spec_of_choices(shape, space, decisions, choice);
    EXPECT_EQ(sliced_shape(sliced_shape(shape, outer), inner), sliced_shape(shape, inner));
  }
}

TEST(SubmodelSpec, DroppedLayersKeepNoIndices) {
  const auto shape = small_shape();
  EXPECT_TRUE(kept_indices(shape, small_spec(), Dim::mamba_inner, 3, 0).empty());
  EXPECT_TRUE(kept_indices(shape, small_spec(), Dim::hidden, 3, 0).empty());
  EXPECT_TRUE(kept_indices(shape, small_spec(), Dim::fixed, 3, 7).empty());
  EXPECT_EQ(kept_indices(shape, small_spec(), Dim::fixed, 0, 7).size(), 7u);
}

}  // namespace
}  // namespace elastic::test
