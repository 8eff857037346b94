// SPDX-License-Identifier: Apache-2.0
#include "base/view_layout.hpp"

#include <gtest/gtest.h>

namespace elastic {
namespace {

/// Every kernel relies on it, in every build.
TEST(ViewLayout, IsThatOfTheHostInKernels) { EXPECT_NO_THROW(require_equal_view_layouts()); }

}  // namespace
}  // namespace elastic
