// SPDX-License-Identifier: Apache-2.0
// Gradients against finite differences along a random direction, in double.
//
//   auto loss = [&] { forward(x, y); return dot(y, c); };
//   backward(c, dx);
//   EXPECT_LT(directional_error(loss, x, dx), 1e-6);
#pragma once
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// Inner product in double.
template <class A, class B>
double dot(const A& a, const B& b) {
  const auto x = to_double(a), y = to_double(b);
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y.at(i);
  return sum;
}

/// Relative difference of <gradient, v> and the five-point central difference of loss(x + h v)
/// in h, for a random v. `loss` reads x, which is perturbed in place and restored.
/// The difference is relative to the larger of the two, or, where they happen to cancel, to what
/// a typical direction gives, |gradient| |v| / sqrt(n).
template <class Loss, class V>
double directional_error(const Loss& loss, const V& x, const V& gradient, std::uint32_t seed = 99,
                         double step = 1e-4) {
  const auto x0 = to_host(x);
  const auto g = to_host(gradient);
  const auto v = random_values<double>(static_cast<index_t>(x0.size()), seed);
  const auto loss_at = [&](double h) {
    auto moved = x0;
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += h * v[i];
    assign(x, moved);
    return static_cast<double>(loss());
  };
  const double near_difference = loss_at(step) - loss_at(-step),
               far_difference = loss_at(2 * step) - loss_at(-2 * step);
  const double numeric = (8 * near_difference - far_difference) / (12 * step);
  assign(x, x0);
  const double analytic = dot(g, v);
  const double typical =
      std::sqrt(dot(g, g) * dot(v, v) / static_cast<double>(std::max<std::size_t>(1, v.size())));
  const double scale = std::max({std::abs(numeric), std::abs(analytic), typical});
  return scale == 0 ? 0 : std::abs(numeric - analytic) / scale;
}

}  // namespace elastic::test
