// SPDX-License-Identifier: Apache-2.0
// The MLP with squared ReLU, elastic in its neurons F.
#include "arch/hybrid_pattern.hpp"
#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

LayerShape shape(const ModelConfig& config) {
  return {LayerKind::mlp, config.ffn_hidden_size, 1, 1};
}

/// Norm, up and down: D + 2DF
double parameters(const ModelShape&, const LayerExtents& e) {
  return e.hidden + 2 * e.hidden * e.inner;
}
LayerExtents parameters_gradient(const ModelShape&, const LayerExtents& e) {
  return {1 + 2 * e.inner, 0, 2 * e.hidden, 0};
}
double cache(const ModelShape&, const LayerExtents&, double) { return 0; }
LayerExtents cache_gradient(const ModelShape&, double) { return {}; }

/// The activation reads and writes [T, F]; backward, it also reads the gradient.
LayerWork forward_work(const ModelShape&, const LayerExtents& e, const PassFacts&) {
  return {.products = 4 * e.hidden * e.inner, .elements = 2 * e.inner};
}
LayerWork backward_work(const ModelShape&, const LayerExtents& e, const PassFacts&) {
  return {.products = 8 * e.hidden * e.inner, .elements = 3 * e.inner};
}

/// The first linear's output before and after its activation; backward, the gradient of it.
LayerElements memory(const ModelShape& model, const LayerShape& layer, const PassTokens& t,
                     const KernelWorkspaces&) {
  const double hidden = static_cast<double>(t.count()) * static_cast<double>(layer.width);
  return {2 * hidden, hidden + t.partials(static_cast<double>(model.hidden_size))};
}

}  // namespace

LayerDescription mlp_kind() {
  using enum TensorExtent;
  using enum InitialLaw;
  return {
      .kind = LayerKind::mlp,
      .name = "MLP",
      .deck = {.block = "mlp", .width = "ffn_hidden_size"},
      .hf = {.types = {"mlp"},
             .width = {{"intermediate_size"}},
             .head_channels = {},
             .num_groups = {}},
      .shape = shape,
      .tensors = {{"up_proj", inner, hidden, normal, "up_proj.weight"},
                  {"down_proj", hidden, inner, residual, "down_proj.weight"}},
      .inner_dim = Dim::ffn,
      .width_axis = Axis::ffn,
      .parameters = parameters,
      .parameters_gradient = parameters_gradient,
      .cache = cache,
      .cache_gradient = cache_gradient,
      .forward_work = forward_work,
      .backward_work = backward_work,
      .memory = memory,
  };
}

}  // namespace elastic
