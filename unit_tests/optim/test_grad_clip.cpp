// SPDX-License-Identifier: Apache-2.0
// Joint norm and scale of several gradient buffers.
#include "optim/grad_clip.hpp"

#include <limits>

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

const ExecutionSpace exec() { return {}; }

TEST(GradClip, ScalesTheJointNormToTheLimit) {
  const auto a = to_device<float>({3, 0}), b = to_device<float>({0, 4, 0});
  const auto clip = clip_gradients<float>(exec(), {a, b}, 1.0);
  EXPECT_TRUE(clip.finite());
  EXPECT_DOUBLE_EQ(clip.norm, 5);
  EXPECT_DOUBLE_EQ(clip.scale, 1 / (5 + 1e-6));
}

TEST(GradClip, LeavesSmallGradientsAlone) {
  const auto a = to_device<double>({0.3, 0.4});
  EXPECT_EQ(clip_gradients<double>(exec(), {a}, 1.0).scale, 1);
  EXPECT_EQ(clip_gradients<double>(exec(), {}, 1.0).norm, 0);
}

TEST(GradClip, ZeroLimitDoesNotClip) {
  const auto a = to_device<double>({30, 40});
  const auto clip = clip_gradients<double>(exec(), {a}, 0);
  EXPECT_DOUBLE_EQ(clip.norm, 50);
  EXPECT_EQ(clip.scale, 1);
  EXPECT_THROW(clip_gradients<double>(exec(), {a}, -1), ContractError);
}

TEST(GradClip, FactorBelongsToNormAndScale) {
  const auto a = to_device<double>({30, 40});
  const auto inside = clip_gradients<double>(exec(), {a}, 1.0, 0.01);
  EXPECT_DOUBLE_EQ(inside.norm, 0.5);
  EXPECT_DOUBLE_EQ(inside.scale, 0.01);
  const auto clipped = clip_gradients<double>(exec(), {a}, 1.0, 0.1);
  EXPECT_DOUBLE_EQ(clipped.norm, 5);
  EXPECT_DOUBLE_EQ(clipped.scale, 0.1 / (5 + 1e-6));
}

TEST(GradClip, ReportsWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto good = random_vector<float>(100, 1);
    auto values = random_values<float>(100, 2);
    values[57] = bad;
    EXPECT_FALSE(clip_gradients<float>(exec(), {good, to_device(values)}, 1.0).finite());
    EXPECT_FALSE(clip_gradients<float>(exec(), {to_device(values), good}, 0).finite());
  }
}

TEST(GradClip, LargeValuesDoNotOverflow) {
  const auto a = to_device<float>({3e30f, 4e30f});
  const auto clip = clip_gradients<float>(exec(), {a}, 1.0);
  EXPECT_TRUE(clip.finite());
  EXPECT_NEAR(clip.norm / 5e30, 1, 1e-6);
}

}  // namespace
}  // namespace elastic::test
