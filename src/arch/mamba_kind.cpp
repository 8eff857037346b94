// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 mixer, elastic in its heads H (the same number in every group) and in the channels P
// of each head. X = E + 2GN are the channels that pass a causal convolution.
#include <algorithm>

#include "arch/hybrid_pattern.hpp"
#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

LayerShape shape(const ModelConfig& config) {
  return {LayerKind::mamba, config.mamba_num_heads, config.mamba_head_dim, config.mamba_num_groups};
}

double taps(const ModelShape& model) { return static_cast<double>(model.mamba_d_conv); }
double state(const ModelShape& model) { return static_cast<double>(model.mamba_state_dim); }

/// D + D(2E + 2GN + H) + X(W + 1) + 3H + E + ED
double parameters(const ModelShape& model, const LayerExtents& e) {
  const double d = e.hidden;
  return d + d * (2 * e.inner + e.side + e.width) + (e.inner + e.side) * (taps(model) + 1) +
         3 * e.width + e.inner + e.inner * d;
}
LayerExtents parameters_gradient(const ModelShape& model, const LayerExtents& e) {
  const double d = e.hidden;
  return {1 + 3 * e.inner + e.side + e.width, d + 3, 3 * d + taps(model) + 2, d + taps(model) + 1};
}
/// The state of each channel, and the last W - 1 inputs of the convolution.
double cache(const ModelShape& model, const LayerExtents& e, double) {
  return e.inner * state(model) + (e.inner + e.side) * (taps(model) - 1);
}
LayerExtents cache_gradient(const ModelShape& model, double) {
  return {0, 0, state(model) + taps(model) - 1, taps(model) - 1};
}

double products(const LayerExtents& e) { return 2 * e.hidden * (3 * e.inner + e.side + e.width); }
/// Q' + 1 with Q' = min(Q, L): twice the mean number of causal pairs of a token inside its chunk.
double reach(const ModelShape& model, const PassFacts& facts) {
  return static_cast<double>(std::min(model.chunk_size, facts.seq_length) + 1);
}
/// Products 2D(3E + 2GN + H), scan 4EN + (Q' + 1)(GN + E), convolution 2WX; the convolution and the
/// gated norm read and write 2X + 3E. Backward: twice the products and the convolution, scan
/// 8EN + (Q' + 1)(3GN + 2E), elements 3X + 5E.
LayerWork forward_work(const ModelShape& model, const LayerExtents& e, const PassFacts& facts) {
  return {.products = products(e),
          .scan = 4 * e.inner * state(model) + reach(model, facts) * (e.side / 2 + e.inner),
          .convolution = 2 * taps(model) * (e.inner + e.side),
          .elements = 2 * (e.inner + e.side) + 3 * e.inner};
}
LayerWork backward_work(const ModelShape& model, const LayerExtents& e, const PassFacts& facts) {
  return {.products = 2 * products(e),
          .scan = 8 * e.inner * state(model) + reach(model, facts) * (3 * e.side / 2 + 2 * e.inner),
          .convolution = 4 * taps(model) * (e.inner + e.side),
          .elements = 3 * (e.inner + e.side) + 5 * e.inner};
}

LayerElements memory(const ModelShape& model, const LayerShape& layer, const PassTokens& t,
                     const KernelWorkspaces& workspaces) {
  const index_t inner = layer.inner(), state = layer.num_groups * model.mamba_state_dim;
  const KernelWorkspaces::Scan scan{.batch = t.batch / t.blocks(),
                                    .seq_length = t.seq_length,
                                    .num_heads = layer.width,
                                    .head_dim = layer.head_channels,
                                    .num_groups = layer.num_groups,
                                    .state_dim = model.mamba_state_dim,
                                    .chunk_size = model.chunk_size};
  const index_t chunks = (t.seq_length + model.chunk_size - 1) / model.chunk_size;
  const index_t chunk_states = scan.batch * chunks * inner * model.mamba_state_dim;
  const index_t n = t.count();
  // Where rows are spans: edges of the convolutions and their neighbours', one state of each span,
  // and what all spans make of the states that come in.
  const bool spans = t.slots > 0, gathers = spans && !t.in_turn;
  const index_t edges = spans ? 2 * t.batch * (model.mamba_d_conv - 1) * (inner + 2 * state) : 0,
                states = spans ? t.batch * inner * model.mamba_state_dim : 0,
                gathered = gathers
                               ? t.ranks * (states + t.batch * layer.width) + t.batch * layer.width
                               : 0;
  const auto values = [](index_t elements) { return static_cast<double>(elements); };
  const double forward =
      values(n * (5 * inner + 4 * state + layer.width) + edges) +
      t.sums(n * (3 * layer.width + layer.num_groups) + t.blocks() * chunk_states + 2 * states);
  // What comes back from the convolutions, and their edges.
  const double projected = values(n * (inner + 2 * state)) + t.sums(edges);
  const double after_scan =
      projected + t.sums(workspaces.convolution(n, std::max(inner, state), model.mamba_d_conv));
  const double during_scan = t.sums(t.blocks() * workspaces.scan(scan) + 2 * states + gathered);
  const double output =
      values(n * inner) + t.sums(workspaces.gated_norm(n, inner, layer.num_groups));
  const double last = projected + t.partials(static_cast<double>(model.hidden_size));
  const double backward = values(n * (3 * inner + 2 * state + layer.width));
  auto all = scan;
  all.batch = t.batch;
  return {forward, backward + std::max({last, output, during_scan, after_scan}),
          t.sums(workspaces.scan_forward(all))};
}

/// Edges of the three convolutions, and the state and decay of each span.
LayerMessages messages(const ModelShape& model, const LayerShape& layer,
                       const MessageFacts& facts) {
  const auto inner = static_cast<double>(layer.inner());
  const double group_states = static_cast<double>(layer.num_groups) * state(model),
               edge = facts.spans * (taps(model) - 1) * (facts.backward ? facts.sum_size : 1),
               sums = facts.spans * facts.sum_size;
  return {.gathered = {edge * inner, edge * group_states, edge * group_states,
                       sums * inner * state(model), sums * static_cast<double>(layer.width)},
          .reduced = {}};
}

constexpr const char *hf_input = "in_proj.weight", *hf_taps = "conv1d.weight",
                     *hf_bias = "conv1d.bias";

}  // namespace

LayerDescription mamba_kind() {
  using enum TensorExtent;
  using enum InitialLaw;
  return {
      .kind = LayerKind::mamba,
      .name = "Mamba-2",
      .deck = {"mamba",
               "num_heads",
               "head_dim",
               "num_groups",
               {{"state_dim", &ModelShape::mamba_state_dim},
                {"d_conv", &ModelShape::mamba_d_conv},
                {"chunk_size", &ModelShape::chunk_size}}},
      .hf = {.types = {"mamba", "linear_attention"},
             .width = {{"mamba_num_heads", "mamba_n_heads"}},
             .head_channels = {{"mamba_head_dim", "mamba_d_head"}},
             .num_groups = {{"n_groups", "mamba_n_groups"}}},
      .shape = shape,
      .tensors = {{"in_proj.z", inner, hidden, normal, hf_input},
                  {"in_proj.x", inner, hidden, normal, hf_input},
                  {"in_proj.B", shared, hidden, normal, hf_input},
                  {"in_proj.C", shared, hidden, normal, hf_input},
                  {"in_proj.dt", units, hidden, normal, hf_input},
                  {"conv1d.x.weight", inner, taps, convolution, hf_taps},
                  {"conv1d.x.bias", one, inner, convolution, hf_bias},
                  {"conv1d.B.weight", shared, taps, convolution, hf_taps},
                  {"conv1d.B.bias", one, shared, convolution, hf_bias},
                  {"conv1d.C.weight", shared, taps, convolution, hf_taps},
                  {"conv1d.C.bias", one, shared, convolution, hf_bias},
                  {"A_log", one, units, decay_rate, "A_log", /*exact=*/true},
                  {"D", one, units, ones, "D", /*exact=*/true},
                  {"dt_bias", one, units, time_step, "dt_bias", /*exact=*/true},
                  {"norm.weight", one, inner, ones, "norm.weight"},
                  {"out_proj", hidden, inner, residual, "out_proj.weight"}},
      .unit_dim = Dim::mamba_heads,
      .inner_dim = Dim::mamba_inner,
      .group_content = GroupContent::state,
      .width_axis = Axis::mamba_heads,
      .channel_axis = Axis::mamba_head_channels,
      .unit_mask = true,
      .group_norm = true,
      .parameters = parameters,
      .parameters_gradient = parameters_gradient,
      .cache_kind = CacheKind::state,
      .cache = cache,
      .cache_gradient = cache_gradient,
      .forward_work = forward_work,
      .backward_work = backward_work,
      .memory = memory,
      .messages = messages,
  };
}

}  // namespace elastic
