// SPDX-License-Identifier: Apache-2.0
// What must hold between the parts of every description of a layer kind.
#pragma once
#include <gmock/gmock.h>

#include <cmath>

#include "arch/hybrid_pattern.hpp"
#include "arch/layer_kind.hpp"

namespace elastic::test {

/// A model of one layer of the kind, of extents that no other extent equals.
inline ModelShape one_of(const LayerDescription& kind) {
  ModelConfig config;
  config.hybrid_layer_pattern = std::string(1, kind.symbol());
  config.vocab_size = 31;
  config.hidden_size = 23;
  config.mamba_num_heads = 6;
  config.mamba_head_dim = 5;
  config.mamba_num_groups = 2;
  config.mamba_state_dim = 7;
  config.mamba_d_conv = 3;
  config.chunk_size = 4;
  config.num_attention_heads = 6;
  config.num_query_groups = 3;
  config.kv_channels = 8;
  config.ffn_hidden_size = 29;
  return make_shape(config);
}

/// Elements of the tensors that pass `filter`.
template <class Filter>
double elements(const ModelShape& shape, const Filter& filter) {
  index_t count = 0;
  for (const auto& info : layer_tensors(shape, 0))
    if (filter(info)) count += info.rows * info.columns;
  return static_cast<double>(count);
}

inline void check_tensors(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  const auto infos = layer_tensors(shape, 0);
  ASSERT_EQ(infos.size(), kind.tensors.size());
  for (const auto& info : infos) {
    EXPECT_THAT(info.name, testing::StartsWith("layers.0.mixer."));
    EXPECT_EQ(info.layer, 0);
    EXPECT_EQ(info.vector, info.rows == 1) << info.name;
    EXPECT_EQ(info.weight_decay, !info.vector) << info.name;
    // Ranks share out every tensor, in one direction, in whole units.
    EXPECT_NE(info.row_unit > 0, info.column_unit > 0) << info.name;
    EXPECT_EQ(info.row_unit > 0 ? info.rows % info.row_unit : info.columns % info.column_unit, 0)
        << info.name;
    for (const auto& [dim, extent] :
         {std::pair{info.row_dim, info.rows}, {info.column_dim, info.columns}})
      if (dim != Dim::fixed) {
        EXPECT_EQ(shape.extent(dim, 0), extent) << info.name << " " << dim_name(dim);
      }
  }
}

inline void check_parameters(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  const auto all = elements(shape, [](const ParameterInfo&) { return true; });
  EXPECT_EQ(kind.parameters(shape, kind.extents(shape, shape.layers[0])),
            all + static_cast<double>(shape.hidden_size))
      << "with the norm before the layer";
}

/// Gradients of parameters and cache by every extent, at fractional extents.
inline void check_cost_gradients(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  LayerExtents at{17.3, 4.2, 13.7, 9.1};
  const double length = 11;
  const auto parameters = kind.parameters_gradient(shape, at);
  const auto cache = kind.cache_gradient(shape, length);
  for (const auto member :
       {&LayerExtents::hidden, &LayerExtents::width, &LayerExtents::inner, &LayerExtents::side}) {
    const auto slope = [&](const auto& f) {
      const double step = 0.25;  // exact for polynomials of the second degree
      LayerExtents above = at, below = at;
      above.*member += step;
      below.*member -= step;
      return (f(above) - f(below)) / (2 * step);
    };
    EXPECT_NEAR(slope([&](const LayerExtents& e) { return kind.parameters(shape, e); }),
                parameters.*member, 1e-10);
    EXPECT_NEAR(slope([&](const LayerExtents& e) { return kind.cache(shape, e, length); }),
                cache.*member, 1e-10);
  }
}

/// Work, parameters and cache are affine in each extent, and in width, inner and side together:
/// what the gradient of FLOPs and the search for submodels build on.
inline void check_affine(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  const LayerExtents by_hidden{17, 0, 0, 0}, by_width{0, 4, 0, 0}, by_inner{0, 0, 13, 0},
      by_side{0, 0, 0, 9}, by_all_but_hidden{0, 4, 13, 9};
  for (const auto& step : {by_hidden, by_width, by_inner, by_side, by_all_but_hidden}) {
    const auto bend = [&](const auto& f) {
      LayerExtents none{17, 4, 13, 9}, middle = none, far = none;
      for (const auto member : {&LayerExtents::hidden, &LayerExtents::width, &LayerExtents::inner,
                                &LayerExtents::side}) {
        none.*member -= step.*member;
        far.*member += step.*member;
      }
      return f(none) - 2 * f(middle) + f(far);
    };
    const auto work = [&](const LayerExtents& e) {
      const LayerWork w = kind.forward_work(shape, e, {9});
      return w.products + w.attention + w.scan + w.convolution;
    };
    EXPECT_EQ(bend(work), 0);
    EXPECT_EQ(bend([&](const LayerExtents& e) { return kind.parameters(shape, e); }), 0);
    EXPECT_EQ(bend([&](const LayerExtents& e) { return kind.cache(shape, e, 11); }), 0);
  }
}

/// Products are those of the tensors that read or write the stream; backward takes twice as many.
inline void check_work(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  const auto e = kind.extents(shape, shape.layers[0]);
  const double weights = elements(shape, [](const ParameterInfo& info) {
    return info.row_dim == Dim::hidden || info.column_dim == Dim::hidden;
  });
  for (const bool soft : {false, true}) {
    const PassFacts facts{9, soft};
    const LayerWork forward = kind.forward_work(shape, e, facts),
                    backward = kind.backward_work(shape, e, facts);
    EXPECT_EQ(forward.products, 2 * weights);
    EXPECT_EQ(backward.products, 2 * forward.products);
    EXPECT_GE(backward.attention, forward.attention);
    EXPECT_GE(backward.scan, forward.scan);
    EXPECT_GE(backward.elements, forward.elements);
  }
}

/// Workspaces of which nothing is needed.
inline constexpr KernelWorkspaces no_workspaces = {
    [](const KernelWorkspaces::Scan&) { return index_t{0}; },
    [](const KernelWorkspaces::Attention&) { return index_t{0}; },
    [](index_t, index_t, index_t) { return index_t{0}; },
    [](index_t, index_t, index_t) { return index_t{0}; }};

/// What is kept grows with the number of sequences; partial sums are part of the backward pass.
inline void check_memory(const LayerDescription& kind) {
  const auto shape = one_of(kind);
  const auto bytes = [&](PassTokens tokens) {
    return kind.memory(shape, shape.layers[0], tokens, no_workspaces);
  };
  const auto one = bytes({.batch = 1, .seq_length = 12}),
             two = bytes({.batch = 2, .seq_length = 12});
  EXPECT_GT(one.forward, 0);
  EXPECT_EQ(two.forward, 2 * one.forward);
  EXPECT_EQ(two.backward, 2 * one.backward);
  const auto summed = bytes({.batch = 1, .seq_length = 12, .partial_sums = 100});
  EXPECT_EQ(summed.forward, one.forward);
  EXPECT_GE(summed.backward, 100.0 * 12 * 23);
}

inline void check_kind(const LayerDescription& kind) {
  SCOPED_TRACE(kind.name);
  check_tensors(kind);
  check_parameters(kind);
  check_cost_gradients(kind);
  check_affine(kind);
  check_work(kind);
  check_memory(kind);
}

}  // namespace elastic::test
