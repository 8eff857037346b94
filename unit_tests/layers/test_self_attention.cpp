// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention: gradients, submodels, steps, documents.
#include "layers/self_attention.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(SelfAttention, GradientsAgainstFiniteDifferences) { check_all_gradients("*"); }

TEST(SelfAttention, MaskedPrefixAndSlicedAgree) {
  check_random_submodels<float>("*");
  check_random_submodels<double>("*");
}

TEST(SelfAttention, BlocksOfPositionsGiveTheWholeSequence) {
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

}  // namespace
}  // namespace elastic::test
