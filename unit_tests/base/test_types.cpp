// SPDX-License-Identifier: Apache-2.0
// The two precisions of a scalar, and prefixes as Views of their parent.
#include "base/types.hpp"

#include <gtest/gtest.h>

namespace elastic {
namespace {

TEST(Types, SumsAreAtLeastAsPreciseAsTheirTerms) {
  EXPECT_TRUE((std::is_same_v<Accumulate<float>, float>));
  EXPECT_TRUE((std::is_same_v<Accumulate<double>, double>));
  EXPECT_TRUE((std::is_same_v<Accumulate<const float>, float>));
}

TEST(Types, APrefixSharesTheMemoryAndTheLeadingDimensionOfItsParent) {
  View2<double> parent("parent", 4, 6);
  const View2<double> part = prefix(parent, 2, 3);
  EXPECT_EQ(part.extent(0), 2u);
  EXPECT_EQ(part.extent(1), 3u);
  EXPECT_EQ(leading_dimension(part), 6);
  EXPECT_EQ(part.data(), parent.data());
  EXPECT_EQ(prefix(View1<double>("vector", 5), 3).extent(0), 3u);
}

TEST(Types, RowsKeepTheLeadingDimension) {
  View2<double> parent("parent", 4, 6);
  const View2<double> part = rows(parent, 1, 3);
  EXPECT_EQ(part.extent(0), 2u);
  EXPECT_EQ(part.data(), parent.data() + 6);
  EXPECT_EQ(leading_dimension(part), 6);
}

}  // namespace
}  // namespace elastic
