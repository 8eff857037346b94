// SPDX-License-Identifier: Apache-2.0
// Operations of the plan's passes against those that kernels count, exactly; bytes of the other
// kernels against a list of what a small model reads and writes.
#include "plan/passes.hpp"

#include <gtest/gtest.h>

#include "base/region.hpp"
#include "elastic/cost_model.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// Operations of the convolutions per token, which the plan counts by their bytes.
double convolution_flops(const ModelShape& shape, double per_tap) {
  double flops = 0;
  for (const auto& layer : shape.layers)
    if (layer.kind == LayerKind::mamba)
      flops += per_tap *
               static_cast<double>(shape.mamba_d_conv *
                                   (layer.inner() + 2 * layer.num_groups * shape.mamba_state_dim));
  return flops;
}

TEST(PlanPasses, ForwardOperationsAreThoseOfTheCostModel) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const index_t length = draw.between(1, 90);
    const Work forward = forward_work(shape, {.seq_length = length}) + logits_work(shape);
    EXPECT_NEAR((forward.flops() + convolution_flops(shape, 2)) /
                    forward_flops_per_token(shape, full_spec(shape), length),
                1, 1e-12);
  }
}

TEST(PlanPasses, OperationsOfATrainingPassAreThoseCounted) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const index_t length = draw.between(2, 70), batch = 2;
    ModelProblem<float> problem(shape, batch, {length});
    const double before = counted_flops();
    problem.differentiate(problem.model.full_widths());
    const double counted = (counted_flops() - before) / static_cast<double>(batch * length);
    const PassOptions options{.seq_length = length, .keeps_input = true};
    const Work work =
        forward_work(shape, options) + loss_work(shape, false) + backward_work(shape, options);
    EXPECT_NEAR((work.flops() + convolution_flops(shape, 2 + 6)) / counted, 1, 1e-12)
        << seed << " " << shape.pattern() << " L " << length;
  }
}

TEST(PlanPasses, ElementsOfASmallModel) {
  // D 6; M: 2 groups of 2 heads of 3 channels, state 5; *: 4 heads of 2 channels, 1 group; - 7.
  auto shape = make_shape("M*-", 6, {LayerKind::mamba, 4, 3, 2}, {LayerKind::attention, 4, 2, 1},
                          {LayerKind::mlp, 7});
  shape.mamba_state_dim = 5;
  shape.vocab_size = 11;
  const double norm = 2 * 6, addition = 3 * 6, input = 2 * 6, embedding = 2 * 6;
  const double convolution = 2 * (12 + 20), gated = 3 * 12, relu = 2 * 7;
  const double stack = 3 * (norm + addition + input) + convolution + gated + relu;
  EXPECT_EQ(stack_work(shape, {.keeps_input = true}).elements, stack);
  EXPECT_EQ(forward_work(shape, {.keeps_input = true}).elements, stack + embedding + norm);
  EXPECT_EQ(forward_work(shape, {}).elements, stack + embedding + norm - 3 * input);
  const double backward = 3 * (2 * 6 + 4 * 6) + 3 * (12 + 20) + 5 * 12 + 3 * 7 + 3 * 6 + 5 * 6;
  EXPECT_EQ(backward_work(shape, {}).elements, backward);
  // Soft masks scale attention's heads and have gradients.
  EXPECT_EQ(forward_work(shape, {.soft_masks = true}).elements - forward_work(shape, {}).elements,
            2 * 8);
  EXPECT_EQ(backward_work(shape, {.soft_masks = true}).elements - backward_work(shape, {}).elements,
            (3 * 8 + 3 * 4 * 6));
  // Half of the stream: norms, additions and inputs, but neither mixers nor embedding.
  EXPECT_EQ(forward_work(shape, {.stream_share = 0.5}).elements,
            (convolution + gated + relu + embedding + (3 * (norm + addition) + norm) / 2));
  EXPECT_EQ(loss_work(shape, false).elements, 2 * 11);
  EXPECT_EQ(loss_work(shape, true).elements, 3 * 11);
  EXPECT_EQ(loss_work(shape, true).products, 3 * 2.0 * 6 * 11);
  EXPECT_EQ(logits_work(shape).products, 2.0 * 6 * 11);
}

}  // namespace
}  // namespace elastic::test
