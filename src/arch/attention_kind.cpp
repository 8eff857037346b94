// SPDX-License-Identifier: Apache-2.0
// Self-attention with grouped queries, elastic in its query heads A; all KV heads R stay.
#include <algorithm>

#include "arch/hybrid_pattern.hpp"
#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

LayerShape shape(const ModelConfig& config) {
  return {LayerKind::attention, config.num_attention_heads, config.kv_channels,
          config.num_query_groups};
}

/// Norm, q and o, k and v: D + 2ACD + 2RCD
double parameters(const ModelShape&, const LayerExtents& e) {
  return e.hidden + e.hidden * (2 * e.inner + e.side);
}
LayerExtents parameters_gradient(const ModelShape&, const LayerExtents& e) {
  return {1 + 2 * e.inner + e.side, 0, 2 * e.hidden, e.hidden};
}
/// Keys and values of all positions.
double cache(const ModelShape&, const LayerExtents& e, double seq_length) {
  return seq_length * e.side;
}
LayerExtents cache_gradient(const ModelShape&, double seq_length) { return {0, 0, 0, seq_length}; }

double products(const LayerExtents& e) { return 2 * e.hidden * (2 * e.inner + e.side); }
/// Causal pairs only: 2AC(L + 1), backward 5AC(L + 1). A soft mask reads and writes the heads'
/// outputs once more.
LayerWork forward_work(const ModelShape&, const LayerExtents& e, const PassFacts& facts) {
  return {.products = products(e),
          .attention = 2 * e.inner * static_cast<double>(facts.seq_length + 1),
          .elements = facts.soft_masks ? 2 * e.inner : 0};
}
LayerWork backward_work(const ModelShape&, const LayerExtents& e, const PassFacts& facts) {
  return {.products = 2 * products(e),
          .attention = 5 * e.inner * static_cast<double>(facts.seq_length + 1),
          .elements = facts.soft_masks ? 3 * e.inner : 0};
}

/// q, heads, masked heads, k, v and the logarithms of the softmax sums; backward, their gradients.
LayerElements memory(const ModelShape& model, const LayerShape& layer, const PassTokens& t,
                     const KernelWorkspaces& workspaces) {
  const index_t inner = layer.inner(), kv = layer.num_groups * layer.head_channels, n = t.count();
  KernelWorkspaces::Attention queries{.batch = t.batch,
                                      .seq_length = t.seq_length,
                                      .num_heads = layer.width,
                                      .num_groups = layer.num_groups,
                                      .head_dim = layer.head_channels,
                                      .kv_length = 0};
  double keys = 0;  // of whole sequences: k and v; sums by each span and one in another order
  if (t.slots > 0) {
    queries.batch = t.batch / t.slots;
    queries.kv_length = t.ranks * t.slots * t.seq_length;
    keys = static_cast<double>(2 * t.ranks * n * kv) + t.sums((2 * t.slots + 1) * t.ranks * n * kv);
    if (t.narrow_values()) keys += t.sums(n * kv);  // a gradient before it is rounded
  }
  const double last = t.partials(static_cast<double>(model.hidden_size));
  return {static_cast<double>(n * ((t.masked_heads ? 3 : 2) * inner + 2 * kv)) +
              t.sums(n * layer.width),
          static_cast<double>(n * (2 * inner + 2 * kv)) +
              std::max(last, t.sums(workspaces.attention(queries)) + keys),
          t.sums(workspaces.attention_forward(queries))};
}

/// Keys and values of all spans come here; backward, their gradients go back.
LayerMessages messages(const ModelShape&, const LayerShape& layer, const MessageFacts& facts) {
  const double keys = facts.tokens * static_cast<double>(layer.num_groups) *
                      static_cast<double>(layer.head_channels);
  LayerMessages all{.gathered = {keys, keys}, .reduced = {}};
  if (facts.backward) all.reduced = {facts.sum_size * keys, facts.sum_size * keys};
  return all;
}

}  // namespace

LayerDescription attention_kind() {
  using enum TensorExtent;
  using enum InitialLaw;
  return {
      .kind = LayerKind::attention,
      .name = "attention",
      .deck = {"attention", "num_heads", "kv_channels", "num_query_groups"},
      .hf = {.types = {"attention", "full_attention"},
             .width = {{"num_attention_heads"}},
             .head_channels = {{"head_dim", "attention_head_dim"}, 128},
             .num_groups = {.names = {"num_key_value_heads"}, .or_width = true}},
      .shape = shape,
      .tensors = {{"q_proj", inner, hidden, normal, "q_proj.weight"},
                  {"k_proj", shared, hidden, normal, "k_proj.weight"},
                  {"v_proj", shared, hidden, normal, "v_proj.weight"},
                  {"o_proj", hidden, inner, residual, "o_proj.weight"}},
      .inner_dim = Dim::attention_inner,
      .group_content = GroupContent::head_channels,
      .width_axis = Axis::attention_heads,
      .parameters = parameters,
      .parameters_gradient = parameters_gradient,
      .cache_kind = CacheKind::keys_values,
      .cache = cache,
      .cache_gradient = cache_gradient,
      .forward_work = forward_work,
      .backward_work = backward_work,
      .memory = memory,
      .messages = messages,
  };
}

}  // namespace elastic
