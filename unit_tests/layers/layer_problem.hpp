// SPDX-License-Identifier: Apache-2.0
// One layer on random numbers, and the checks that every kind of layer must pass: gradients against
// finite differences, masked = prefix = sliced, blocks of generation = the whole sequence.
#pragma once
#include <cmath>

#include "kernels/products/gemm.hpp"
#include "layers/generation.hpp"
#include "unit_tests/layers/parameters_for_tests.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::test {

/// A parent of one layer: D = 7, Mamba 6 x 3 in 2 groups, attention 4 x 3 on 2 groups, MLP 9.
inline ModelShape one_layer(const std::string& kind) {
  auto shape = make_shape(kind, 7, {LayerKind::mamba, 6, 3, 2}, {LayerKind::attention, 4, 3, 2},
                          {LayerKind::mlp, 9});
  shape.mamba_state_dim = 5;
  shape.chunk_size = 4;
  return shape;
}
/// For results of a layer that sum so many terms. Where values are narrower than sums, the longest
/// way (through Mamba: projected, convolved, scanned and normed, and back) stores one result after
/// the other; where ways meet, as in a square, errors add.
template <class T>
double layer_tolerance(index_t reduction_length) {
  return stored_tolerance<T>(reduction_length, 10);
}

/// A submodel of it, every width cut.
inline SubmodelSpec narrow_spec(const ModelShape& shape) {
  SubmodelSpec spec = full_spec(shape);
  spec.hidden_size = 5;
  auto& layer = spec.layers[0];
  switch (shape.layers[0].kind) {
    case LayerKind::mamba:
      layer.width = 4;
      layer.head_channels = 2;
      break;
    case LayerKind::attention:
      layer.width = 2;
      break;
    case LayerKind::mlp:
      layer.width = 4;
      break;
  }
  return spec;
}

/// Loss <c, layer(u)> on B = 2 sequences of L = 11, two documents each with `segments`.
template <class T>
struct LayerProblem {
  LayerProblem(const ModelShape& model_shape, index_t hidden, bool segments)
      : shape(model_shape),
        layer(make_layer<T>(shape, 0, store)),
        generation(layer->for_generation()),
        u(random_matrix<T>(num_tokens, hidden, 31)),
        c(random_matrix<T>(num_tokens, hidden, 32)),
        y("elastic::test::y", num_tokens, hidden),
        du("elastic::test::du", num_tokens, hidden) {
    store.allocate(true);
    randomize(store, 33);
    std::vector<token_t> segment;
    for (index_t t = 0; t < num_tokens; ++t) segment.push_back(t % 11 < (t < 11 ? 3 : 6) ? 0 : 1);
    context = {.exec = {}, .arena = &arena, .batch = 2, .seq_length = 11, .segment = {}};
    if (segments) context.segment = to_device(segment);
  }

  double loss(const LayerActive<T>& active) {
    const Arena::Scope scope(arena);
    const auto saved = layer->make_saved();
    layer->forward(context, active, u, y, *saved);
    return dot(y, c);
  }
  void differentiate(const LayerActive<T>& active) {
    const Arena::Scope scope(arena);
    const auto saved = layer->make_saved();
    zero_gradients(store);
    layer->forward(context, active, u, y, *saved);
    layer->backward(context, active, c, u, *saved, du);
  }

  static constexpr index_t num_tokens = 22;
  ModelShape shape;
  ParameterStore<T> store;
  std::unique_ptr<Layer<T>> layer;
  std::unique_ptr<GenerationLayer<T>> generation;
  Arena arena;
  LayerContext context;
  View2<T> u, c;
  View2<Accumulate<T>> y, du;
};

/// Random masks and norm scale on the extents of `active`, as the router would set them.
template <class T>
void soften(const ModelShape& shape, LayerActive<T>& active) {
  const bool mamba = shape.layers[0].kind == LayerKind::mamba;
  const auto mask = [](index_t n, std::uint32_t seed) {
    return SoftMask<T>{random_vector<Accumulate<T>>(n, seed, 0.2, 1),
                       View1<Accumulate<T>>("elastic::test::dmask", n)};
  };
  active.inner = mask(mamba ? active.width * active.head_channels : active.width, 41);
  if (!mamba) return;
  active.heads = mask(active.width, 42);
  active.gated_norm.params.mean_width *= 1.4;
  active.gated_norm.params.scale = 0.8;
  active.gated_norm.dscale =
      View1<Accumulate<T>>("elastic::test::dscale", shape.layers[0].num_groups);
}

/// All parameters, the input, all masks and the norm scale along random directions.
inline void check_gradients(const ModelShape& shape, const SubmodelSpec& spec, bool segments,
                            bool soft) {
  SCOPED_TRACE(describe(shape, spec) + (segments ? ", segments" : "") + (soft ? ", soft" : ""));
  LayerProblem<double> problem(shape, spec.hidden_size, segments);
  auto active = prefix_widths<double>(shape, spec).layers[0];
  if (soft) soften(shape, active);
  problem.differentiate(active);
  const auto loss = [&] { return problem.loss(active); };
  EXPECT_LT(directional_error(loss, problem.u, problem.du), 1e-6) << "input";
  for (const auto& p : problem.store) {
    EXPECT_GT(dot(p.gradient, p.gradient), 0) << p.info.name;
    EXPECT_LT(directional_error(loss, p.value, p.gradient), 1e-6) << p.info.name;
  }
  for (const auto& mask : each_of(active.inner, active.heads)) {
    if (mask.value.size() == 0) continue;
    EXPECT_LT(directional_error(loss, mask.value, mask.gradient), 1e-6) << "mask";
  }
  if (active.gated_norm.dscale.size() == 0) return;
  double& scale = active.gated_norm.params.scale;
  const double exact = scale, step = 1e-3;  // the loss is linear in the scale
  scale = exact + step;
  const double above = loss();
  scale = exact - step;
  const double below = loss();
  scale = exact;
  double gradient = 0;
  for (const double part : to_host(active.gated_norm.dscale)) gradient += part;
  EXPECT_NEAR((above - below) / (2 * step), gradient, 1e-6 * std::abs(gradient)) << "norm scale";
}

inline void check_all_gradients(const std::string& kind) {
  const auto shape = one_layer(kind);
  for (const auto& spec : {full_spec(shape), narrow_spec(shape)})
    for (const bool segments : {false, true})
      for (const bool soft : {false, true}) check_gradients(shape, spec, segments, soft);
}

/// Gradients of the parent on the submodel are those of the sliced model; elsewhere zero.
template <class T>
void expect_sliced_gradients(const ModelShape& parent, const SubmodelSpec& spec,
                             const ParameterStore<T>& full, const ParameterStore<T>& sliced,
                             double tolerance) {
  for (index_t i = 0; i < full.size(); ++i) {
    const auto parts = partition(parent, spec, full[i].info, full[i].gradient);
    EXPECT_TRUE(near(parts.kept, to_host(sliced[i].gradient), tolerance)) << full[i].info.name;
    for (const auto g : parts.left) ASSERT_EQ(g, 0) << full[i].info.name;
  }
}

/// What the submodel keeps of the values of its parent.
template <class T>
void cut_values(const ModelShape& parent, const SubmodelSpec& spec, const ParameterStore<T>& full,
                const ParameterStore<T>& sliced) {
  for (index_t i = 0; i < sliced.size(); ++i) {
    const auto& info = full[i].info;
    if (has_exact_values<T> && info.exact)
      assign(sliced[i].exact, partition(parent, spec, info, full[i].exact).kept);
    else
      assign(sliced[i].value, partition(parent, spec, info, full[i].value).kept);
  }
}

/// The three ways to compute a submodel of one layer.
template <class T>
void check_three_ways(const ModelShape& shape, const SubmodelSpec& spec, bool segments,
                      bool deterministic) {
  SCOPED_TRACE(describe(shape, spec));
  const index_t hidden = spec.hidden_size;
  LayerProblem<T> masked(shape, shape.hidden_size, segments), prefixed(shape, hidden, segments),
      sliced(sliced_shape(shape, spec), hidden, segments);
  for (auto* problem : {&masked, &prefixed, &sliced})
    problem->context.deterministic = deterministic;
  for (const auto& [full, part] : {std::pair{masked.u, prefixed.u}, {masked.c, prefixed.c}}) {
    Kokkos::deep_copy(full, T(0));  // as the hidden mask leaves it
    Kokkos::deep_copy(prefix(full, 22, hidden), part);
  }
  cut_values(shape, spec, prefixed.store, sliced.store);
  const auto own = full_spec(sliced.shape);
  masked.differentiate(masked_widths<T>(shape, spec).layers[0]);
  prefixed.differentiate(prefix_widths<T>(shape, spec).layers[0]);
  sliced.differentiate(prefix_widths<T>(sliced.shape, own).layers[0]);

  const double tol = layer_tolerance<T>(200);
  EXPECT_TRUE(near(prefixed.y, sliced.y, tol));
  EXPECT_TRUE(near(prefix(masked.y, 22, hidden), sliced.y, tol));
  EXPECT_TRUE(near(prefixed.du, sliced.du, tol));
  EXPECT_TRUE(near(prefix(masked.du, 22, hidden), sliced.du, tol));
  expect_sliced_gradients(shape, spec, prefixed.store, sliced.store, tol);
  expect_sliced_gradients(shape, spec, masked.store, sliced.store, tol);
  if (!deterministic) return;
  EXPECT_TRUE(bitwise_equal(prefixed.y, sliced.y));
  EXPECT_TRUE(bitwise_equal(prefixed.du, sliced.du));
}

template <class T>
void check_random_submodels(const std::string& kind) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(seed);
    const auto shape = one_layer(kind);
    check_three_ways<T>(shape, random_spec(draw, shape), seed % 3 == 0, seed % 2 == 0);
  }
}

/// Extends by blocks of positions, one after the other from `cache` on;
/// row b*11 + t of the result is position t of sequence b.
template <class T>
View2<Accumulate<T>> extend_in_blocks(LayerProblem<T>& problem, const LayerActive<T>& active,
                                      LayerCache& cache, const std::vector<index_t>& blocks,
                                      index_t position = 0) {
  const auto hidden = static_cast<index_t>(problem.u.extent(1));
  const View2<Accumulate<T>> result("elastic::test::extended", 22, hidden);
  for (const index_t length : blocks) {
    const View2<T> u("elastic::test::u_block", 2 * length, hidden);
    const View2<Accumulate<T>> y("elastic::test::y_block", 2 * length, hidden);
    const auto each = [&](const auto& action) {
      for (index_t b = 0; b < 2; ++b)
        action(Range(b * length, (b + 1) * length),
               Range(b * 11 + position, b * 11 + position + length));
    };
    each([&](Range block, Range all) {
      Kokkos::deep_copy(rows(u, block.first, block.second), rows(problem.u, all.first, all.second));
    });
    auto context = problem.context;
    context.seq_length = length;
    problem.generation->extend(context, active, u, position, cache, y);
    each([&](Range block, Range all) {
      Kokkos::deep_copy(rows(result, all.first, all.second), rows(y, block.first, block.second));
    });
    position += length;
  }
  return result;
}

inline const std::vector<std::vector<index_t>> block_lengths = {
    std::vector<index_t>(11, 1), {11}, {4, 7}, {1, 6, 1, 3}};

/// Positions in blocks of any size give the rows of the whole sequence, and the bits of one by one.
template <class T>
void check_extends(const ModelShape& shape, const SubmodelSpec& spec) {
  SCOPED_TRACE(describe(shape, spec));
  LayerProblem<T> problem(shape, spec.hidden_size, false);
  const auto active = prefix_widths<T>(shape, spec).layers[0];
  problem.loss(active);
  std::vector<Accumulate<T>> one_by_one;
  for (const index_t history : {0, 3})
    for (const auto& blocks : block_lengths) {
      const auto cache = problem.generation->make_cache(active, 2, 13, history);
      const auto y = to_host(extend_in_blocks(problem, active, *cache, blocks));
      EXPECT_TRUE(near(y, to_host(problem.y), layer_tolerance<T>(200)))
          << blocks.size() << " blocks";
      if (one_by_one.empty()) one_by_one = y;
      // More rows, and devices, take another route of gemm.
      if (blocks[0] <= 4 && std::is_same_v<MemorySpace, HostSpace>) {
        EXPECT_TRUE(bitwise_equal(y, one_by_one)) << blocks.size() << " blocks";
      }
    }
}

/// After a detour from position 5 on, the last positions again: as if there had been none.
template <class T>
void check_history(const ModelShape& shape, const SubmodelSpec& spec) {
  LayerProblem<T> problem(shape, spec.hidden_size, false), detour(shape, spec.hidden_size, false);
  assign(detour.u, random_values<T>(22 * spec.hidden_size, 77));
  const auto active = prefix_widths<T>(shape, spec).layers[0];
  for (const index_t length : {1, 2, 4}) {
    const auto cache = problem.generation->make_cache(active, 2, 11, 4);
    const auto straight = problem.generation->make_cache(active, 2, 11, 0);
    const auto expected = extend_in_blocks(problem, active, *straight, {2, 3, 2, 4});
    extend_in_blocks(problem, active, *cache, {2, 3});
    extend_in_blocks(detour, active, *cache, {length}, 5);
    const auto again = extend_in_blocks(problem, active, *cache, {2, 4}, 5);
    for (const index_t b : {0, 1})
      EXPECT_TRUE(bitwise_equal(rows(again, b * 11 + 5, b * 11 + 11),
                                rows(expected, b * 11 + 5, b * 11 + 11)))
          << "detour of " << length;
  }
}

/// A narrower layer that reads the same input:
/// what it remembers is part of what the wider one remembers.
template <class T>
void check_narrowing(const ModelShape& shape, SubmodelSpec spec) {
  spec.hidden_size = shape.hidden_size;
  LayerProblem<T> problem(shape, spec.hidden_size, false);
  const auto from = prefix_widths<T>(shape, full_spec(shape)).layers[0],
             to = prefix_widths<T>(shape, spec).layers[0];
  for (const index_t history : {0, 2}) {
    const auto own = problem.generation->make_cache(to, 2, 11, history);
    const auto expected = extend_in_blocks(problem, to, *own, {5, 1, 5});
    const auto wide = problem.generation->make_cache(from, 2, 11, history);
    extend_in_blocks(problem, from, *wide, {5, 1});
    const auto narrow = problem.generation->narrow_cache(problem.context, from, to, *wide);
    const auto y = extend_in_blocks(problem, to, *narrow, {5}, 6);
    for (const index_t b : {0, 1})
      EXPECT_TRUE(near(rows(y, b * 11 + 6, b * 11 + 11), rows(expected, b * 11 + 6, b * 11 + 11),
                       layer_tolerance<T>(50)));
  }
}

template <class T>
void check_all_extends(const std::string& kind) {
  const auto shape = one_layer(kind);
  for (const auto& spec : {full_spec(shape), narrow_spec(shape)}) {
    check_extends<T>(shape, spec);
    check_history<T>(shape, spec);
    check_narrowing<T>(shape, spec);
  }
}

/// Two documents of a row do not see each other: the second one's output is as if it came alone.
inline void check_documents(const std::string& kind) {
  const auto shape = one_layer(kind);
  const auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
  LayerProblem<double> packed(shape, 7, true), alone(shape, 7, false);
  packed.loss(active);
  Kokkos::deep_copy(rows(alone.u, 0, 8), rows(packed.u, 3, 11));
  alone.loss(active);
  EXPECT_TRUE(near(rows(packed.y, 3, 11), rows(alone.y, 0, 8), tolerance<double>(200)));
}

}  // namespace elastic::test
