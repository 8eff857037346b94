// SPDX-License-Identifier: Apache-2.0
// Names of the axes, and which of them belong to layers.
#include "arch/axis.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace elastic::test {
namespace {

TEST(Axis, ListHoldsEveryAxisInTheOrderOfTheEnum) {
  ASSERT_EQ(num_axes, 6);
  for (std::size_t i = 0; i < all_axes.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(all_axes[i]), i);
}

TEST(Axis, NamesAreDifferent) {
  std::set<std::string> names;
  for (const Axis axis : all_axes) names.insert(axis_name(axis));
  EXPECT_EQ(names.size(), all_axes.size());
  EXPECT_STREQ(axis_name(Axis::mamba_head_channels), "mamba_head_channels");
  EXPECT_STREQ(axis_name(Axis::depth), "depth");
}

TEST(Axis, HiddenAndDepthBelongToTheModel) {
  for (const Axis axis : all_axes)
    EXPECT_EQ(is_layer_axis(axis), axis != Axis::hidden && axis != Axis::depth);
}

}  // namespace
}  // namespace elastic::test
