// SPDX-License-Identifier: Apache-2.0
// Bounds of choices against is_nested, and what is said where submodels are not nested.
#include "elastic/nesting.hpp"

#include <gmock/gmock.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

TEST(Nesting, AllowedChoicesGiveNestedSubmodelsOnly) {
  int allowed_ones = 0, refused = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Draw draw(seed);  // named one by one: a lambda below captures them
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    const auto decisions = list_decisions(shape, space);
    const auto spec = [&] {
      return spec_of_choices(shape, space, decisions, random_choices(draw, decisions));
    };
    const auto outer = spec(), inner = spec();
    const auto choice = random_choices(draw, decisions);
    bool fits_outer = true, fits_inner = true;
    for (std::size_t d = 0; d < decisions.size(); ++d) {
      fits_outer =
          fits_outer && allowed_choices(shape, space, decisions[d], {&outer, nullptr})[choice[d]];
      fits_inner =
          fits_inner && allowed_choices(shape, space, decisions[d], {nullptr, &inner})[choice[d]];
    }
    const auto chosen = spec_of_choices(shape, space, decisions, choice);
    EXPECT_TRUE(!fits_outer || is_nested(chosen, outer));
    EXPECT_TRUE(!fits_inner || is_nested(inner, chosen));
    allowed_ones += fits_outer + fits_inner;
    refused += !fits_outer + !fits_inner;
    EXPECT_EQ(nesting_gap(shape, chosen, outer).empty(), is_nested(chosen, outer));
  }
  EXPECT_GT(allowed_ones, 40);
  EXPECT_GT(refused, 40);
}

TEST(Nesting, TheBoundItselfIsAllowed) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    auto [draw, shape, space, decisions] = RandomCase(seed);
    const auto choice = random_choices(draw, decisions);
    const auto spec = spec_of_choices(shape, space, decisions, choice);
    for (std::size_t d = 0; d < decisions.size(); ++d)
      EXPECT_TRUE(allowed_choices(shape, space, decisions[d], {&spec, &spec})[choice[d]]);
  }
}

TEST(Nesting, GapsNameTheFirstPlace) {
  const auto shape = small_shape("M-*");
  auto outer = full_spec(shape), inner = outer;
  outer.name = "0.75";
  inner.name = "0.5";
  inner.budget = 0.5;
  outer.budget = 0.75;
  EXPECT_THAT(nesting_gaps(shape, {outer, inner}), testing::IsEmpty());
  outer.layers[1].width = 7;
  EXPECT_EQ(nesting_gap(shape, inner, outer), "layer 1 (-) 10 of 7");
  outer.layers[0].head_channels = 3;
  EXPECT_EQ(nesting_gap(shape, inner, outer), "layer 0 (M) 4 channels of 3");
  outer.layers[0].keep = false;
  EXPECT_EQ(nesting_gap(shape, inner, outer), "layer 0 (M), which is dropped there");
  inner.layers[0].keep = false;
  EXPECT_EQ(nesting_gap(shape, inner, outer), "layer 1 (-) 10 of 7");
  outer.hidden_size = 9;
  EXPECT_THAT(nesting_gaps(shape, {inner, outer}),
              testing::ElementsAre("0.5 is not part of 0.75: hidden 12 of 9"));
}

}  // namespace
}  // namespace elastic::test
