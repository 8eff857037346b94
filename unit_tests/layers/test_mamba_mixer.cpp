// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 mixer: gradients, submodels, steps, documents, caches.
#include "layers/mamba_mixer.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(MambaMixer, GradientsAgainstFiniteDifferences) { check_all_gradients("M"); }

TEST(MambaMixer, MaskedPrefixAndSlicedAgree) {
  check_random_submodels<bfloat16>("M");
  check_random_submodels<float>("M");
  check_random_submodels<double>("M");
}

TEST(MambaMixer, BlocksOfPositionsGiveTheWholeSequence) {
  check_all_extends<bfloat16>("M");
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

/// A = 16 and steps up to 10: sums of a chunk reach a thousand, while steps near 0 stand beside.
template <class T>
std::unique_ptr<LayerProblem<T>> strong_decays(index_t chunk) {
  auto shape = one_layer("M");
  shape.chunk_size = chunk;
  auto problem = std::make_unique<LayerProblem<T>>(shape, 7, false);
  for (const auto& p : problem->store) {
    auto values = to_host(random_matrix<float>(p.value.extent_int(0), p.value.extent_int(1), 50));
    for (float& value : values)
      if (p.info.name.ends_with("A_log"))
        value = 2.7725887f;
      else if (p.info.name.ends_with("in_proj.dt"))
        value *= 8;
      else if (p.info.name.ends_with("dt_bias"))
        value += 4;
    assign(p.value, std::vector<T>(values.begin(), values.end()));
  }
  const auto u = random_values<float>(22 * 7, 51), c = random_values<float>(22 * 7, 52);
  assign(problem->u, std::vector<T>(u.begin(), u.end()));
  assign(problem->c, std::vector<T>(c.begin(), c.end()));
  return problem;
}

TEST(MambaMixer, StrongDecaysKeepTheirDigitsAtAnyChunkSize) {
  const auto shape = one_layer("M");
  const auto reference = strong_decays<double>(1);
  reference->differentiate(prefix_widths<double>(shape, full_spec(shape)).layers[0]);
  for (const index_t chunk : {1, 4, 11}) {
    SCOPED_TRACE(chunk);
    const auto problem = strong_decays<float>(chunk);
    problem->differentiate(prefix_widths<float>(shape, full_spec(shape)).layers[0]);
    EXPECT_TRUE(near(problem->y, reference->y, tolerance<float>(16)));
    EXPECT_TRUE(near(problem->du, reference->du, tolerance<float>(16)));
    for (index_t i = 0; i < problem->store.size(); ++i)
      EXPECT_TRUE(
          near(problem->store[i].gradient, reference->store[i].gradient, tolerance<float>(22)))
          << problem->store[i].info.name;
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
  for (const auto which : {UnitActivations::projections, UnitActivations::outputs})
    EXPECT_TRUE(
        near(problem.layer->importance_activations(*saved, which), x, tolerance<double>(7)));
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
