// SPDX-License-Identifier: Apache-2.0
// Operations of training against a count by hand: a model of MLP layers, whose forward pass takes
// 4 D F per layer and 2 V D for the logits.
#include "elastic/training_flops.hpp"

#include <gtest/gtest.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

constexpr index_t length = 40;

struct Counts {
  double states, logits;  ///< of a forward pass per token
};

/// Counted layer by layer.
Counts count(const ModelShape& shape, const SubmodelSpec& spec) {
  Counts c{0, 2.0 * static_cast<double>(shape.vocab_size * spec.hidden_size)};
  for (const auto& layer : spec.layers)
    if (layer.keep) c.states += 4.0 * static_cast<double>(spec.hidden_size * layer.width);
  return c;
}

SubmodelSpec narrow_spec(const ModelShape& shape) {
  auto spec = full_spec(shape);
  spec.hidden_size = 8;
  spec.layers[0].width = 3;
  spec.layers[1].keep = false;
  return spec;
}

TEST(TrainingFlops, OfABudgetAreThreeForwardPassesAndItsLosses) {
  const auto shape = small_shape("---");
  for (const auto& spec : {full_spec(shape), narrow_spec(shape)}) {
    const auto [states, logits] = count(shape, spec);
    const double parent_logits = count(shape, full_spec(shape)).logits;
    const auto flops = [&](const TrainingPasses& passes) {
      return training_flops_per_token(shape, spec, length, passes);
    };
    EXPECT_DOUBLE_EQ(flops({}), 3 * (states + logits));
    EXPECT_DOUBLE_EQ(flops({.distills = true, .cross_entropy = false}),
                     3 * (states + logits) + parent_logits);
    EXPECT_DOUBLE_EQ(flops({.distills = true}), 3 * (states + 2 * logits) + parent_logits);
    EXPECT_DOUBLE_EQ(flops({.distills = true, .keeps_logits = true}), 3 * (states + 2 * logits));
    EXPECT_DOUBLE_EQ(flops({.recomputed = {true, true, true}}), 4 * states + 3 * logits);
    const double last = 4.0 * static_cast<double>(spec.hidden_size * spec.layers[2].width);
    EXPECT_DOUBLE_EQ(flops({.recomputed = {false, false, true}}), 3 * (states + logits) + last);
  }
}

TEST(TrainingFlops, OfATeacherAreItsStatesUnlessItLearns) {
  const auto shape = small_shape("---");
  const auto [states, logits] = count(shape, full_spec(shape));
  const auto flops = [&](const TrainingPasses& passes) {
    return teacher_flops_per_token(shape, length, passes);
  };
  EXPECT_EQ(flops({}), 0) << "nothing is distilled";
  EXPECT_DOUBLE_EQ(flops({.distills = true}), states);
  EXPECT_DOUBLE_EQ(flops({.distills = true, .recomputed = {true, true, true}}), states)
      << "nothing of a frozen teacher is kept for a backward pass";
  EXPECT_DOUBLE_EQ(flops({.distills = true, .trains_teacher = true}), 3 * (states + logits));
  EXPECT_DOUBLE_EQ(
      flops({.distills = true, .recomputed = {true, true, true}, .trains_teacher = true}),
      4 * states + 3 * logits);
  EXPECT_DOUBLE_EQ(flops({.distills = true, .keeps_logits = true}), states + logits);
  EXPECT_DOUBLE_EQ(flops({.distills = true, .trains_teacher = true, .keeps_logits = true}),
                   3 * states + 4 * logits);
}

/// Attention is the only part whose work per token grows with the length: by 2 A C for each of the
/// two products and each further pair, three times in training.
TEST(TrainingFlops, LongerSequencesCostMoreAttentionOnly) {
  const auto mlp = small_shape("--"), attention = small_shape("*-");
  const auto grown = [&](const ModelShape& shape) {
    return training_flops_per_token(shape, full_spec(shape), 3 * length, {}) -
           training_flops_per_token(shape, full_spec(shape), length, {});
  };
  EXPECT_EQ(grown(mlp), 0);
  const auto& layer = attention.layers[0];
  const double pairs = static_cast<double>(2 * length) / 2;  // causal: half of the length
  EXPECT_DOUBLE_EQ(grown(attention), 3 * 4 * static_cast<double>(layer.inner()) * pairs);
}

}  // namespace
}  // namespace elastic::test
