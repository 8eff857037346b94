// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention: gradients, submodels, steps, documents.
#include "layers/self_attention.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(SelfAttention, GradientsAgainstFiniteDifferences) { check_all_gradients("*"); }

TEST(SelfAttention, MaskedPrefixAndSlicedAgree) {
  check_random_submodels<bfloat16>("*");
  check_random_submodels<float>("*");
  check_random_submodels<double>("*");
}

TEST(SelfAttention, BlocksOfPositionsGiveTheWholeSequence) {
  check_all_extends<bfloat16>("*");
  check_all_extends<float>("*");
  check_all_extends<double>("*");
}

TEST(SelfAttention, DocumentsDoNotSeeEachOther) { check_documents("*"); }

TEST(SelfAttention, FirstPositionSeesOnlyItself) {
  const auto shape = one_layer("*");
  LayerProblem<double> problem(shape, 7, false);
  problem.loss(prefix_widths<double>(shape, full_spec(shape)).layers[0]);
  const auto u = to_host(problem.u),
             v = to_host(problem.store.find("layers.0.mixer.v_proj")->value),
             o = to_host(problem.store.find("layers.0.mixer.o_proj")->value);
  std::vector<double> y(7);
  for (index_t a = 0; a < 4; ++a)
    for (index_t c = 0; c < 3; ++c) {
      double value = 0;
      for (index_t d = 0; d < 7; ++d) value += v[(a % 2 * 3 + c) * 7 + d] * u[d];
      for (index_t d = 0; d < 7; ++d) y[d] += o[d * 12 + a * 3 + c] * value;
    }
  EXPECT_TRUE(near(rows(problem.y, 0, 1), y, tolerance<double>(20)));
}

TEST(SelfAttention, ImportanceIsMeasuredOnTheOutputsOfHeads) {
  const auto shape = one_layer("*");
  LayerProblem<double> problem(shape, 7, false);
  auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  soften(shape, active);  // what is measured lies before the mask
  const Arena::Scope scope(problem.arena);
  const auto saved = problem.layer->make_saved();
  problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
  const auto heads =
                 to_host(problem.layer->importance_activations(*saved, UnitActivations::outputs)),
             mask = to_host(active.inner.value),
             o = to_host(problem.store.find("layers.0.mixer.o_proj")->value);
  std::vector<double> y(22 * 7);
  for (index_t t = 0; t < 22; ++t)
    for (index_t e = 0; e < 12; ++e)
      for (index_t d = 0; d < 7; ++d)
        y[t * 7 + d] += o[d * 12 + e] * mask[e / 3] * heads[t * 12 + e];
  EXPECT_TRUE(near(problem.y, y, tolerance<double>(20)));
}

TEST(SelfAttention, OrOnTheQueries) {
  const auto shape = one_layer("*");
  LayerProblem<double> problem(shape, 7, false);
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  const Arena::Scope scope(problem.arena);
  const auto saved = problem.layer->make_saved();
  problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
  const auto u = to_host(problem.u),
             weight = to_host(problem.store.find("layers.0.mixer.q_proj")->value);
  std::vector<double> q(22 * 12);
  for (index_t t = 0; t < 22; ++t)
    for (index_t e = 0; e < 12; ++e)
      for (index_t d = 0; d < 7; ++d) q[t * 12 + e] += weight[e * 7 + d] * u[t * 7 + d];
  EXPECT_TRUE(near(problem.layer->importance_activations(*saved, UnitActivations::projections), q,
                   tolerance<double>(7)));
}

TEST(SelfAttention, EqualKeysGiveTheMeanOfTheValues) {
  const auto shape = one_layer("*");
  LayerProblem<double> problem(shape, 7, false);
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  Kokkos::deep_copy(problem.store.find("layers.0.mixer.k_proj")->value, 0.0);
  const Arena::Scope scope(problem.arena);
  const auto saved = problem.layer->make_saved();
  problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
  const auto heads =
                 to_host(problem.layer->importance_activations(*saved, UnitActivations::outputs)),
             u = to_host(problem.u),
             v = to_host(problem.store.find("layers.0.mixer.v_proj")->value);
  // Positions of the first sequence; head 1 (KV head 1), channel 2.
  for (const index_t t : {0, 4, 10}) {
    double mean = 0;
    for (index_t j = 0; j <= t; ++j)
      for (index_t d = 0; d < 7; ++d) mean += v[5 * 7 + d] * u[j * 7 + d];
    EXPECT_NEAR(heads[t * 12 + 5], mean / static_cast<double>(t + 1), 1e-12) << "position " << t;
  }
}

}  // namespace
}  // namespace elastic::test
