// SPDX-License-Identifier: Apache-2.0
// The squared-ReLU MLP: gradients, submodels, steps, its equation.
#include "layers/mlp.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(Mlp, GradientsAgainstFiniteDifferences) { check_all_gradients("-"); }

TEST(Mlp, MaskedPrefixAndSlicedAgree) {
  check_random_submodels<bfloat16>("-");
  check_random_submodels<float>("-");
  check_random_submodels<double>("-");
}

TEST(Mlp, BlocksOfPositionsGiveTheWholeSequence) {
  check_all_extends<bfloat16>("-");
  check_all_extends<float>("-");
  check_all_extends<double>("-");
}

TEST(Mlp, ByItsEquation) {
  const auto shape = one_layer("-");
  LayerProblem<double> problem(shape, 7, false);
  problem.loss(prefix_widths<double>(shape, full_spec(shape)).layers[0]);
  const auto u = to_host(problem.u),
             up = to_host(problem.store.find("layers.0.mixer.up_proj")->value),
             down = to_host(problem.store.find("layers.0.mixer.down_proj")->value);
  std::vector<double> y(22 * 7);
  for (index_t t = 0; t < 22; ++t)
    for (index_t f = 0; f < 9; ++f) {
      double hidden = 0;
      for (index_t d = 0; d < 7; ++d) hidden += up[f * 7 + d] * u[t * 7 + d];
      const double activated = hidden > 0 ? hidden * hidden : 0;
      for (index_t d = 0; d < 7; ++d) y[t * 7 + d] += down[d * 9 + f] * activated;
    }
  EXPECT_TRUE(near(problem.y, y, tolerance<double>(63)));
}

TEST(Mlp, ImportanceIsMeasuredBeforeOrAfterTheActivation) {
  const auto shape = one_layer("-");
  LayerProblem<double> problem(shape, 7, false);
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  const Arena::Scope scope(problem.arena);
  const auto saved = problem.layer->make_saved();
  problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
  const auto u = to_host(problem.u),
             up = to_host(problem.store.find("layers.0.mixer.up_proj")->value);
  std::vector<double> hidden(22 * 9);
  for (index_t t = 0; t < 22; ++t)
    for (index_t f = 0; f < 9; ++f)
      for (index_t d = 0; d < 7; ++d) hidden[t * 9 + f] += up[f * 7 + d] * u[t * 7 + d];
  EXPECT_TRUE(near(problem.layer->importance_activations(*saved, UnitActivations::projections),
                   hidden, tolerance<double>(7)));
  for (double& h : hidden) h = h > 0 ? h * h : 0;
  EXPECT_TRUE(near(problem.layer->importance_activations(*saved, UnitActivations::outputs), hidden,
                   tolerance<double>(7)));
}

TEST(Mlp, NegativeHiddenUnitsGiveNothing) {
  const auto shape = one_layer("-");
  LayerProblem<float> problem(shape, 7, false);
  const auto active = prefix_widths<float>(shape, full_spec(shape)).layers[0];
  Kokkos::deep_copy(problem.u, 0.5f);
  Kokkos::deep_copy(problem.store.find("layers.0.mixer.up_proj")->value, -0.1f);
  problem.differentiate(active);
  for (const float y : to_host(problem.y)) ASSERT_EQ(y, 0);
  for (const float g : to_host(problem.store.gradients())) ASSERT_EQ(g, 0);
}

}  // namespace
}  // namespace elastic::test
