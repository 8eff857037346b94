// SPDX-License-Identifier: Apache-2.0
// What a rank shows: progress by regions and kernels, its place, and a sign that moves elsewhere.
#include "base/life_sign.hpp"

#include <gtest/gtest.h>

#include "base/region.hpp"

namespace elastic::test {
namespace {

std::uint64_t progress() { return life_sign().progress.load(); }

TEST(LifeSign, RegionsShowPlaceAndProgress) {
  const auto before = progress();
  {
    const Region outer("outer");
    EXPECT_EQ(region_of(life_sign()), "outer");
    const Region inner("inner");
    EXPECT_EQ(region_of(life_sign()), "outer/inner");
    EXPECT_EQ(progress(), before + 2);
  }
  EXPECT_EQ(region_of(life_sign()), "no region");
  EXPECT_EQ(progress(), before + 4);
}

TEST(LifeSign, CountedKernelsAreProgress) {
  const auto before = progress();
  add_flops(0);
  note_progress();
  EXPECT_EQ(progress(), before + 2);
}

TEST(LifeSign, LongPathsAreCut) {
  note_region(std::string(500, 'x'));
  EXPECT_EQ(region_of(life_sign()), std::string(95, 'x'));
  note_region("");
  EXPECT_EQ(region_of(life_sign()), "no region");
}

TEST(LifeSign, MovesWithStepAndRegion) {
  LifeSign elsewhere;
  note_step(17);
  note_region("here");
  show_life_sign_in(&elsewhere);
  EXPECT_EQ(elsewhere.step.load(), 17);
  EXPECT_EQ(region_of(elsewhere), "here");
  note_region("there");
  note_step(18);
  EXPECT_EQ(region_of(elsewhere), "there");
  EXPECT_EQ(elsewhere.progress.load(), 1u);
  show_life_sign_in(nullptr);
  EXPECT_NE(&life_sign(), &elsewhere);
  EXPECT_EQ(life_sign().step.load(), 18);
  EXPECT_EQ(region_of(life_sign()), "there");
  note_region("");
}

}  // namespace
}  // namespace elastic::test
