// SPDX-License-Identifier: Apache-2.0
// A model that several ranks can share.
#pragma once
#include "elastic/kept_choices.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {

/// Four groups of everything, odd vocabulary, FFN widths that no number of ranks divides.
inline ModelShape wide_parent() {
  auto shape = smooth(make_shape("M-*M-", 12, {LayerKind::mamba, 8, 4, 4},
                                 {LayerKind::attention, 8, 3, 4}, {LayerKind::mlp, 11}));
  shape.vocab_size = 51;
  return shape;
}
inline ElasticSpace wide_space() {
  ElasticSpace space = rigid_space(wide_parent());
  space.hidden.widths = {12, 9, 5};
  space.mamba_heads = {{8, 4}, true};
  space.mamba_head_channels = {{4, 3}, false};
  space.attention_heads = {{8, 4}, false};
  space.ffn = {{11, 7, 2}, true};
  space.depth.widths = {0, 1, 2};
  space.drop_order = {3, 1, 2, 4, 0};
  return space;
}
inline SubmodelSpec narrow_spec_of_wide() {
  auto spec = full_spec(wide_parent());
  spec.hidden_size = 9;
  spec.layers = {{4, 3, true}, {7, 1, true}, {4, 3, true}, {8, 4, false}, {5, 1, true}};
  return spec;
}

/// All choices soft.
inline Probabilities random_probabilities(const std::vector<Decision>& decisions) {
  Draw draw(77);
  Probabilities pi;
  for (const auto& decision : decisions) {
    double sum = 0;
    pi.emplace_back();
    for (std::size_t i = 0; i < decision.widths.size(); ++i)
      sum += pi.back().emplace_back(0.1 + draw.uniform());
    for (double& p : pi.back()) p /= sum;
  }
  return pi;
}

}  // namespace elastic::test
