// SPDX-License-Identifier: Apache-2.0
// Dropped choices, and the exact gradient through what is renormalised.
#include "elastic/kept_choices.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/tolerance.hpp"
#include "base/error.hpp"

namespace elastic::test {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;

TEST(KeptChoices, SmallOnesVanishAndTheRestAddsUpToOne) {
  const auto kept = keep_choices({{{0.05, 0.57, 0.38}}, {{0.05, 0.57, 0.38}}}, 0.1);
  EXPECT_THAT(kept.soft[0], ElementsAre(0.0, DoubleEq(0.6), DoubleEq(0.4)));
  EXPECT_EQ(kept.value, kept.soft);
  EXPECT_DOUBLE_EQ(kept.sum[0], 0.95);
}

TEST(KeptChoices, OneLeftIsCertain) {
  const auto kept = keep_choices({{{0.04, 0.93, 0.03}}, {{0.04, 0.93, 0.03}}}, 0.1);
  EXPECT_THAT(kept.soft[0], ElementsAre(0.0, 1.0, 0.0));
  EXPECT_THAT(keep_choices_backward(kept, {{3, -2, 5}})[0], ElementsAre(0.0, 0.0, 0.0));
}

TEST(KeptChoices, TheLargestStaysBelowTheThreshold) {
  const auto kept = keep_choices({{{0.3, 0.4, 0.3}}, {{0.3, 0.4, 0.3}}}, 0.5);
  EXPECT_THAT(kept.soft[0], ElementsAre(0.0, 1.0, 0.0));
}

/// A smooth function of all pi', and its gradient.
double loss_of(const Probabilities& pi, Probabilities* gradient = nullptr) {
  double sum = 0;
  if (gradient) *gradient = pi;
  std::uint64_t k = 0;
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const double c = random_uniform({7, RandomPurpose::test}, k++);
      sum += std::sin(c + 3 * pi[d][i]);
      if (gradient) (*gradient)[d][i] = 3 * std::cos(c + 3 * pi[d][i]);
    }
  return sum;
}

TEST(KeptChoices, GradientOnBothSidesOfEpsilonAgainstFiniteDifferences) {
  const double epsilon = 0.1;
  Probabilities pi = {{0.05, 0.25, 0.4, 0.3}, {0.2, 0.08, 0.02, 0.7}, {0.5, 0.5}, {0.99, 0.01}};
  Probabilities by_kept;
  const auto kept = keep_choices({pi, pi}, epsilon);
  loss_of(kept.value, &by_kept);
  const auto gradient = keep_choices_backward(kept, by_kept);
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const auto at = [&](double step) {
        auto moved = pi;
        moved[d][i] += step;
        return loss_of(keep_choices({moved, moved}, epsilon).value);
      };
      EXPECT_NEAR((at(1e-5) - at(-1e-5)) / 2e-5, gradient[d][i], 1e-8) << d << " " << i;
      if (pi[d][i] < epsilon) {
        EXPECT_EQ(gradient[d][i], 0);
      }
    }
}

TEST(KeptChoices, GradientsOfAStraightThroughDrawGoThroughTheSoftOne) {
  const Probabilities soft = {{0.05, 0.25, 0.4, 0.3}, {0.2, 0.78, 0.02}},
                      hard = {{0, 0, 1, 0}, {0, 1, 0}}, by_value = {{1, 2, -3, 4}, {5, -6, 7}};
  const auto kept = keep_choices({hard, soft}, 0.1);
  EXPECT_EQ(kept.value, hard);
  const auto gradient = keep_choices_backward(kept, by_value);
  EXPECT_EQ(gradient, keep_choices_backward(keep_choices({soft, soft}, 0.1), by_value));
  const double mean = (0.25 * 2 - 0.4 * 3 + 0.3 * 4) / 0.95;
  EXPECT_THAT(gradient[0], ElementsAre(0.0, DoubleEq((2 - mean) / 0.95),
                                       DoubleEq((-3 - mean) / 0.95), DoubleEq((4 - mean) / 0.95)));
}

TEST(KeptChoices, ADrawThatIsNotFiniteIsNamed) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    const RouterDraw draw{{{0.5, 0.5}, {bad, 1}}, {{0.5, 0.5}, {bad, 1}}};
    EXPECT_THROW(keep_choices(draw, 0.1), NumericsError);
  }
}

TEST(KeptChoices, WhatIsTakenMustBeKept) {
  EXPECT_THROW(keep_choices({{{0, 0, 1}}, {{0.6, 0.38, 0.02}}}, 0.1), ContractError);
  EXPECT_THROW(keep_choices({{{0, 1}}, {{0.6, 0.38, 0.02}}}, 0.1), ContractError);
}

}  // namespace
}  // namespace elastic::test
