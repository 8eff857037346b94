// SPDX-License-Identifier: Apache-2.0
// The generation interface, for every kind: caches of sequences that do not know of each other,
// begin anew at position 0, and give their rows in any batch.
#include "layers/generation.hpp"

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

TEST(Generation, PositionOfEachSequence) {
  const auto all = to_device(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 6, 2);
  const auto second = of_each_sequence(all, 3, 1);  // two sequences of three positions
  EXPECT_TRUE(bitwise_equal(second, std::vector<float>{2, 3, 8, 9}));
  EXPECT_EQ(second.data(), all.data() + 2) << "a View of the same memory";
}

TEST(Generation, PositionwiseLayersComputeTheirForwardPass) {
  const auto shape = one_layer("-");
  LayerProblem<float> problem(shape, 7, false);
  const auto active = prefix_widths<float>(shape, full_spec(shape)).layers[0];
  problem.loss(active);
  const auto expected = to_host(problem.y);
  const PositionwiseGeneration<float> generation(*problem.layer);
  const auto cache = generation.make_cache(active, 2, 11, 0);
  const auto before = problem.arena.mark();
  for (const index_t position : {0, 100}) {
    generation.extend(problem.context, active, problem.u, position, *cache, problem.y);
    EXPECT_TRUE(bitwise_equal(problem.y, expected)) << position;
  }
  EXPECT_EQ(problem.arena.mark().used, before.used);
}

template <class T>
void check_new_text(const std::string& kind) {
  const auto shape = one_layer(kind);
  LayerProblem<T> problem(shape, 7, false), other(shape, 7, false);
  assign(other.u, random_values<T>(22 * 7, 77));
  const auto active = prefix_widths<T>(shape, full_spec(shape)).layers[0];
  for (const index_t history : {0, 2}) {
    const auto fresh = problem.generation->make_cache(active, 2, 11, history),
               used = problem.generation->make_cache(active, 2, 11, history);
    const auto expected = extend_in_blocks(problem, active, *fresh, {4, 3, 4});
    extend_in_blocks(other, active, *used, {5, 6});
    EXPECT_TRUE(
        bitwise_equal(extend_in_blocks(problem, active, *used, {4, 3, 4}), to_host(expected)));
  }
}

TEST(Generation, ACacheServesAnotherTextFromPositionZero) {
  for (const std::string kind : {"M", "*", "-"}) {
    SCOPED_TRACE(kind);
    check_new_text<float>(kind);
    check_new_text<double>(kind);
  }
}

/// Sequence b alone, one position after the other: [11, hidden].
template <class T>
View2<T> alone(LayerProblem<T>& problem, const LayerActive<T>& active, index_t b) {
  const auto cache = problem.generation->make_cache(active, 1, 11, 0);
  const View2<T> y("elastic::test::alone", 11, problem.u.extent(1));
  auto context = problem.context;
  context.batch = context.seq_length = 1;
  for (index_t t = 0; t < 11; ++t)
    problem.generation->extend(context, active, clone(rows(problem.u, b * 11 + t, b * 11 + t + 1)),
                               t, *cache, rows(y, t, t + 1));
  return y;
}

TEST(Generation, SequencesOfABatchDoNotSeeEachOther) {
  for (const std::string kind : {"M", "*", "-"}) {
    const auto shape = one_layer(kind);
    for (const auto& spec : {full_spec(shape), narrow_spec(shape)}) {
      SCOPED_TRACE(describe(shape, spec));
      LayerProblem<double> problem(shape, spec.hidden_size, false);
      const auto active = prefix_widths<double>(shape, spec).layers[0];
      const auto cache = problem.generation->make_cache(active, 2, 11, 0);
      const auto together = extend_in_blocks(problem, active, *cache, std::vector<index_t>(11, 1));
      for (const index_t b : {0, 1})
        EXPECT_TRUE(near(rows(together, b * 11, (b + 1) * 11), to_host(alone(problem, active, b)),
                         tolerance<double>(100)));
    }
  }
}

TEST(Generation, TheFutureDoesNotChangeThePast) {
  for (const std::string kind : {"M", "*", "-"}) {
    SCOPED_TRACE(kind);
    const auto shape = one_layer(kind);
    LayerProblem<double> problem(shape, 7, false);
    const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
    problem.loss(active);
    const auto before = to_host(rows(problem.y, 0, 6));
    Kokkos::deep_copy(rows(problem.u, 6, 11), 0.3);
    problem.loss(active);
    EXPECT_TRUE(near(rows(problem.y, 0, 6), before, 0)) << "causal";
    if (kind != "-") {
      const auto cache = problem.generation->make_cache(active, 2, 11, 0);
      EXPECT_TRUE(near(rows(extend_in_blocks(problem, active, *cache, {6, 5}), 0, 6), before,
                       tolerance<double>(100)));
    }
  }
}

}  // namespace
}  // namespace elastic::test
