// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 mixer: gradients, submodels, steps, documents, caches.
#include "layers/mamba_mixer.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(MambaMixer, GradientsAgainstFiniteDifferences) { check_all_gradients("M"); }

TEST(MambaMixer, MaskedPrefixAndSlicedAgree) {
  check_random_submodels<float>("M");
  check_random_submodels<double>("M");
}

TEST(MambaMixer, BlocksOfPositionsGiveTheWholeSequence) {
  check_all_extends<float>("M");
  check_all_extends<double>("M");
}

TEST(MambaMixer, DocumentsDoNotSeeEachOther) { check_documents("M"); }

TEST(MambaMixer, ChunkSizeChangesRoundingOnly) {
  auto shape = one_layer("M");
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  LayerProblem<double> reference(shape, 7, true);
  reference.differentiate(active);
  for (const index_t chunk : {1, 3, 11, 64}) {
    shape.chunk_size = chunk;
    LayerProblem<double> other(shape, 7, true);
    other.differentiate(active);
    EXPECT_TRUE(near(other.y, reference.y, tolerance<double>(100))) << chunk;
    EXPECT_TRUE(near(other.du, reference.du, tolerance<double>(100))) << chunk;
    EXPECT_TRUE(near(other.store.gradients(), reference.store.gradients(), tolerance<double>(200)))
        << chunk;
  }
}

TEST(MambaMixer, ImportanceIsMeasuredOnTheProjectedX) {
  const auto shape = one_layer("M");
  LayerProblem<double> problem(shape, 7, false);
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  const Arena::Scope scope(problem.arena);
  const auto saved = problem.layer->make_saved();
  problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
  const auto weight = to_host(problem.store.find("layers.0.mixer.in_proj.x")->value);
  const auto u = to_host(problem.u);
  std::vector<double> x(22 * 18);
  for (index_t t = 0; t < 22; ++t)
    for (index_t e = 0; e < 18; ++e)
      for (index_t d = 0; d < 7; ++d) x[t * 18 + e] += u[t * 7 + d] * weight[e * 7 + d];
  EXPECT_TRUE(near(problem.layer->importance_activations(*saved), x, tolerance<double>(7)));
}

TEST(MambaMixer, TensorsAndWeightDecay) {
  ParameterStore<float> store;
  make_layer<float>(one_layer("M"), 0, store);
  std::string decayed, kept;
  for (const auto& p : store)
    (p.info.weight_decay ? decayed : kept) +=
        p.info.name.substr(std::string("layers.0.mixer.").size()) + " ";
  EXPECT_EQ(decayed,
            "in_proj.z in_proj.x in_proj.B in_proj.C in_proj.dt conv1d.x.weight conv1d.B.weight "
            "conv1d.C.weight out_proj ");
  EXPECT_EQ(kept, "conv1d.x.bias conv1d.B.bias conv1d.C.bias A_log D dt_bias norm.weight ");
}

}  // namespace
}  // namespace elastic::test
