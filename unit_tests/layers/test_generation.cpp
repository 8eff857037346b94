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
    check_new_text<bfloat16>(kind);
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

/// The two specs one after the other: each width at most that of the spec before.
SubmodelSpec narrower(const ModelShape& shape, const SubmodelSpec& spec, Draw& draw) {
  SubmodelSpec result = spec;
  const auto& full = shape.layers[0];
  auto& layer = result.layers[0];
  layer.width = full.num_groups * draw.between(1, layer.width / full.num_groups);
  layer.head_channels = draw.between(1, layer.head_channels);
  if (full.kind != LayerKind::mamba) layer.head_channels = full.head_channels;
  return result;
}

/// From the parent's cache by way of `middle`, and at once.
template <class T>
void check_narrowing_twice(const ModelShape& shape, const SubmodelSpec& middle,
                           const SubmodelSpec& last) {
  SCOPED_TRACE(describe(shape, middle) + " then " + describe(shape, last));
  LayerProblem<T> problem(shape, shape.hidden_size, false);
  const auto widths = [&](const SubmodelSpec& spec) {
    return prefix_widths<T>(shape, spec).layers[0];
  };
  const auto full = widths(full_spec(shape));
  const auto& generation = *problem.generation;
  const auto read = [&] {
    auto cache = generation.make_cache(full, 2, 11, 2);
    extend_in_blocks(problem, full, *cache, {4, 3});
    return cache;
  };
  const auto twice = read(), once = read();
  const auto between = generation.narrow_cache(problem.context, full, widths(middle), *twice);
  const auto narrow_twice =
                 generation.narrow_cache(problem.context, widths(middle), widths(last), *between),
             narrow_once = generation.narrow_cache(problem.context, full, widths(last), *once);
  EXPECT_TRUE(
      bitwise_equal(extend_in_blocks(problem, widths(last), *narrow_twice, {1, 3}, 7),
                    to_host(extend_in_blocks(problem, widths(last), *narrow_once, {1, 3}, 7))));
}

TEST(Generation, NarrowingTwiceIsNarrowingOnce) {
  for (const std::string kind : {"M", "*", "-"})
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      Draw draw(seed);
      const auto shape = one_layer(kind);
      const auto middle = narrower(shape, full_spec(shape), draw);
      const auto last = narrower(shape, middle, draw);
      check_narrowing_twice<bfloat16>(shape, middle, last);
      check_narrowing_twice<float>(shape, middle, last);
      check_narrowing_twice<double>(shape, middle, last);
    }
}

/// Sequences that change places keep their own states when the cache is narrowed.
TEST(Generation, NarrowedSequencesDoNotSeeEachOther) {
  for (const std::string kind : {"M", "*", "-"}) {
    SCOPED_TRACE(kind);
    const auto shape = one_layer(kind);
    const auto full = prefix_widths<double>(shape, full_spec(shape)).layers[0],
               narrow = prefix_widths<double>(shape, narrow_spec(shape)).layers[0];
    std::vector<std::vector<double>> results;
    for (const bool swapped : {false, true}) {
      LayerProblem<double> problem(shape, 7, false);
      auto u = to_host(problem.u);
      if (swapped) std::rotate(u.begin(), u.begin() + 11 * 7, u.end());
      assign(problem.u, u);
      const auto cache = problem.generation->make_cache(full, 2, 11, 2);
      extend_in_blocks(problem, full, *cache, {4, 3});
      const auto cut = problem.generation->narrow_cache(problem.context, full, narrow, *cache);
      auto y = to_host(extend_in_blocks(problem, narrow, *cut, {1, 3}, 7));
      if (swapped) std::rotate(y.begin(), y.begin() + 11 * 7, y.end());
      results.push_back(y);
    }
    EXPECT_TRUE(near(results[0], results[1], tolerance<double>(100)));
  }
}

/// A submodel on the parent's prefixes, and cut out as a layer of its own.
template <class T>
void check_sliced(const ModelShape& shape, const SubmodelSpec& spec) {
  SCOPED_TRACE(describe(shape, spec));
  LayerProblem<T> prefixed(shape, spec.hidden_size, false),
      sliced(sliced_shape(shape, spec), spec.hidden_size, false);
  cut_values(shape, spec, prefixed.store, sliced.store);
  const auto active = prefix_widths<T>(shape, spec).layers[0],
             own = prefix_widths<T>(sliced.shape, full_spec(sliced.shape)).layers[0];
  const auto cache = prefixed.generation->make_cache(active, 2, 11, 1),
             own_cache = sliced.generation->make_cache(own, 2, 11, 1);
  EXPECT_TRUE(near(extend_in_blocks(prefixed, active, *cache, {5, 1, 5}),
                   to_host(extend_in_blocks(sliced, own, *own_cache, {5, 1, 5})),
                   layer_tolerance<T>(100)));
}

TEST(Generation, OnPrefixesIsGenerationByTheSlicedLayer) {
  for (const std::string kind : {"M", "*", "-"}) {
    const auto shape = one_layer(kind);
    for (std::uint64_t seed = 20; seed < 26; ++seed) {
      Draw draw(seed);
      check_sliced<bfloat16>(shape, random_spec(draw, shape));
      check_sliced<float>(shape, random_spec(draw, shape));
      check_sliced<double>(shape, random_spec(draw, shape));
    }
  }
}

}  // namespace
}  // namespace elastic::test
