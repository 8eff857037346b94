// SPDX-License-Identifier: Apache-2.0
// Times of inference: the fit finds the terms that synthetic times are made of, and stays
// nonnegative where they are made of something else.
#include "elastic/measured/measured_times.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {
std::vector<TimedExtents> times_of(const std::vector<double>& hidden,
                                   const std::vector<double>& width,
                                   const std::vector<double>& channels, const TimeLaw& law) {
  std::vector<TimedExtents> times;
  for (const double d : hidden)
    for (const double w : width)
      for (const double c : channels) {
        const LayerExtents extents{.hidden = d, .width = w, .inner = w * c};
        times.push_back({extents, law.seconds(extents)});
      }
  return times;
}

TEST(MeasuredTimes, FitFindsTheTermsOfSyntheticTimes) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Draw draw(seed);
    TimeLaw law;
    // Terms of comparable size at the largest extents; some are absent.
    const auto largest = time_terms({.hidden = 64, .width = 8, .inner = 256});
    for (std::size_t i = 0; i < num_time_terms; ++i)
      law.factors[i] = draw.between(0, 2) == 0 ? 0 : 1e-6 * draw.uniform() / largest[i];
    law.factors[0] += 1e-7;
    const auto fit = fit_time_law(times_of({64, 48, 32}, {8, 6, 4}, {32, 16}, law));
    for (std::size_t i = 0; i < num_time_terms; ++i)
      EXPECT_NEAR(fit.factors[i] * largest[i], law.factors[i] * largest[i], 1e-12)
          << "seed " << seed << " term " << i;
    EXPECT_LT(fit.worst_error, 1e-5);
  }
}

TEST(MeasuredTimes, ExtentsThatDoNotVaryHaveNoTermsOfTheirOwn) {
  const TimeLaw law{.factors = {1e-6, 0, 3e-7, 0, 0, 0}};
  const auto fit = fit_time_law(times_of({64}, {8, 4, 2}, {16}, law));
  EXPECT_NEAR(fit.seconds({.hidden = 64, .width = 6, .inner = 96}), 2.8e-6, 1e-12);
  EXPECT_EQ(fit.factors[3] + fit.factors[4] + fit.factors[5], 0);
  const auto one = fit_time_law({{{.hidden = 8, .width = 2, .inner = 2}, 4e-6}});
  EXPECT_DOUBLE_EQ(one.seconds({.hidden = 8, .width = 2, .inner = 2}), 4e-6);
}

TEST(MeasuredTimes, NoFactorIsNegativeAndTimesGrow) {
  for (std::uint64_t seed = 100; seed < 140; ++seed) {
    Draw draw(seed);
    auto times = times_of({64, 48, 32}, {8, 6, 4}, {32, 16}, {});
    for (auto& time : times) time.seconds = 1e-6 * (0.2 + draw.uniform());  // nothing but noise
    const auto fit = fit_time_law(times);
    for (const double factor : fit.factors) EXPECT_GE(factor, 0);
    const LayerExtents extents{.hidden = 40, .width = 6, .inner = 96};
    const auto slope = fit.gradient(extents);
    EXPECT_GE(std::min({slope.hidden, slope.width, slope.inner}), 0);
    EXPECT_GT(fit.seconds(extents), 0);
  }
}

TEST(MeasuredTimes, NonnegativeLeastSquaresMeetsItsConditions) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Draw draw(seed);
    const auto rows = static_cast<std::size_t>(draw.between(1, 12)),
               columns = static_cast<std::size_t>(draw.between(1, 6));
    std::vector<std::vector<double>> a(rows, std::vector<double>(columns));
    std::vector<double> b(rows);
    for (auto& row : a)
      for (double& x : row) x = draw.uniform() - 0.3;
    for (double& x : b) x = draw.uniform() - 0.5;
    const auto x = nonnegative_least_squares(a, b);
    // Karush-Kuhn-Tucker: no slope where x > 0, none that would help where x = 0.
    for (std::size_t j = 0; j < columns; ++j) {
      double slope = 0;
      for (std::size_t i = 0; i < rows; ++i) {
        double residual = b[i];
        for (std::size_t k = 0; k < columns; ++k) residual -= a[i][k] * x[k];
        slope += a[i][j] * residual;
      }
      EXPECT_GE(x[j], 0);
      EXPECT_LT(slope, 1e-7) << "seed " << seed;
      if (x[j] > 1e-9) {
        EXPECT_NEAR(slope, 0, 1e-7) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace elastic::test
