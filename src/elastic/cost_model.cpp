// SPDX-License-Identifier: Apache-2.0
#include "elastic/cost_model.hpp"

#include <algorithm>

namespace elastic {
namespace {

/// Extents of one layer as real numbers.
struct LayerExtents {
  double hidden, width, inner;  ///< D; H, A or F; E, A*C or F
  double side;                  ///< Mamba: 2*G*N; attention: 2*R*C; MLP: 0
};

LayerExtents extents(const ModelShape& parent, const ExpectedWidths& widths, index_t l) {
  const auto& shape = parent.layers[l];
  const auto& layer = widths.layers[l];
  const auto groups = static_cast<double>(shape.num_groups);
  if (shape.kind == LayerKind::mlp) return {widths.hidden, layer.width, layer.width, 0};
  const double inner = layer.width * layer.head_channels;
  if (shape.kind == LayerKind::attention)
    return {widths.hidden, layer.width, inner, 2 * groups * layer.head_channels};
  return {widths.hidden, layer.width, inner,
          2 * groups * static_cast<double>(parent.mamba_state_dim)};
}

double taps(const ModelShape& parent) { return static_cast<double>(parent.mamba_d_conv); }

double layer_parameters(const ModelShape& parent, LayerKind kind, const LayerExtents& e) {
  const double d = e.hidden;
  if (kind == LayerKind::mlp) return d + 2 * d * e.inner;
  if (kind == LayerKind::attention) return d + d * (2 * e.inner + e.side);
  return d + d * (2 * e.inner + e.side + e.width) + (e.inner + e.side) * (taps(parent) + 1) +
         3 * e.width + e.inner + e.inner * d;
}

/// d layer_parameters / d each extent.
LayerExtents layer_parameters_gradient(const ModelShape& parent, LayerKind kind,
                                       const LayerExtents& e) {
  const double d = e.hidden;
  if (kind == LayerKind::mlp) return {1 + 2 * e.inner, 0, 2 * d, 0};
  if (kind == LayerKind::attention) return {1 + 2 * e.inner + e.side, 0, 2 * d, d};
  return {1 + 3 * e.inner + e.side + e.width, d + 3, 3 * d + taps(parent) + 2,
          d + taps(parent) + 1};
}

/// KV cache elements of an attention layer, state elements of a Mamba layer, for one
/// sequence; linear in inner and side.
double layer_cache(const ModelShape& parent, LayerKind kind, const LayerExtents& e,
                   double seq_length) {
  if (kind == LayerKind::mlp) return 0;
  if (kind == LayerKind::attention) return seq_length * e.side;
  return e.inner * static_cast<double>(parent.mamba_state_dim) +
         (e.inner + e.side) * (taps(parent) - 1);
}

LayerExtents layer_cache_gradient(const ModelShape& parent, LayerKind kind, double seq_length) {
  if (kind == LayerKind::mlp) return {0, 0, 0, 0};
  if (kind == LayerKind::attention) return {0, 0, 0, seq_length};
  return {0, 0, static_cast<double>(parent.mamba_state_dim) + taps(parent) - 1, taps(parent) - 1};
}

double cache_bytes(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config,
                   LayerKind kind) {
  double elements = 0;
  for (index_t l = 0; l < parent.num_layers(); ++l)
    if (parent.layers[l].kind == kind)
      elements += widths.layers[l].keep * layer_cache(parent, kind, extents(parent, widths, l),
                                                      static_cast<double>(config.seq_length));
  return config.cache_bytes * static_cast<double>(config.batch) * elements;
}

/// Goes by the chain rule from the extents back to width and head channels.
ExpectedLayer chain(const LayerShape& shape, const ExpectedLayer& layer, const LayerExtents& by,
                    double keep) {
  if (shape.kind == LayerKind::mlp) return {layer.keep * by.inner, 0, keep};
  const double channels_of_side =
      shape.kind == LayerKind::attention ? 2 * static_cast<double>(shape.num_groups) : 0;
  return {layer.keep * (by.width + layer.head_channels * by.inner),
          layer.keep * (layer.width * by.inner + channels_of_side * by.side), keep};
}

/// Operations of one layer per token; formula in cost_model.hpp.
double layer_flops(const ModelShape& parent, const LayerShape& shape, const LayerExtents& e,
                   double seq_length) {
  const double products = 2 * layer_parameters(parent, shape.kind, e);
  if (shape.kind == LayerKind::mlp) return products - 2 * e.hidden;
  if (shape.kind == LayerKind::attention)
    return products - 2 * e.hidden + 2 * e.inner * (seq_length + 1);
  const auto state = static_cast<double>(parent.mamba_state_dim);
  const double reach = (std::min(static_cast<double>(parent.chunk_size), seq_length) + 1) / 2;
  const double conv = 2 * taps(parent) * (e.inner + e.side);
  const double scan = 4 * e.inner * state + reach * (e.side + 2 * e.inner);
  return 2 * e.hidden * (3 * e.inner + e.side + e.width) + conv + scan;
}

}  // namespace

ExpectedWidths expected_widths(const SubmodelSpec& spec) {
  ExpectedWidths widths{static_cast<double>(spec.hidden_size), {}};
  for (const auto& layer : spec.layers)
    widths.layers.push_back({static_cast<double>(layer.width),
                             static_cast<double>(layer.head_channels), layer.keep ? 1.0 : 0.0});
  return widths;
}

double parameter_count(const ModelShape& parent, const ExpectedWidths& widths) {
  double count = (2 * static_cast<double>(parent.vocab_size) + 1) * widths.hidden;
  for (index_t l = 0; l < parent.num_layers(); ++l)
    count += widths.layers[l].keep *
             layer_parameters(parent, parent.layers[l].kind, extents(parent, widths, l));
  return count;
}
double parameter_count(const ModelShape& parent, const SubmodelSpec& spec) {
  return parameter_count(parent, expected_widths(spec));
}
double parameter_count(const ModelShape& parent) {
  return parameter_count(parent, full_spec(parent));
}

double kv_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                      const CostConfig& config) {
  return cache_bytes(parent, widths, config, LayerKind::attention);
}
double ssm_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                       const CostConfig& config) {
  return cache_bytes(parent, widths, config, LayerKind::mamba);
}

double cost(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config) {
  const double parameters = parameter_count(parent, widths);
  if (config.kind == BudgetKind::parameters) return parameters;
  return config.weight_bytes * parameters + kv_cache_bytes(parent, widths, config) +
         ssm_cache_bytes(parent, widths, config);
}

ExpectedWidths cost_gradient(const ModelShape& parent, const ExpectedWidths& widths,
                             const CostConfig& config) {
  const bool memory = config.kind == BudgetKind::memory;
  const double per_parameter = memory ? config.weight_bytes : 1.0;
  const double per_element = memory ? config.cache_bytes * static_cast<double>(config.batch) : 0.0;
  const auto seq_length = static_cast<double>(config.seq_length);
  ExpectedWidths gradient{per_parameter * (2 * static_cast<double>(parent.vocab_size) + 1), {}};
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const auto& shape = parent.layers[l];
    const auto& layer = widths.layers[l];
    const auto e = extents(parent, widths, l);
    const auto p = layer_parameters_gradient(parent, shape.kind, e);
    const auto c = layer_cache_gradient(parent, shape.kind, seq_length);
    const LayerExtents by{per_parameter * p.hidden + per_element * c.hidden,
                          per_parameter * p.width + per_element * c.width,
                          per_parameter * p.inner + per_element * c.inner,
                          per_parameter * p.side + per_element * c.side};
    gradient.hidden += layer.keep * by.hidden;
    const double whole = per_parameter * layer_parameters(parent, shape.kind, e) +
                         per_element * layer_cache(parent, shape.kind, e, seq_length);
    gradient.layers.push_back(chain(shape, layer, by, whole));
  }
  return gradient;
}

double forward_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                               index_t seq_length) {
  const auto widths = expected_widths(spec);
  double flops = 2 * static_cast<double>(parent.vocab_size) * widths.hidden;
  for (index_t l = 0; l < parent.num_layers(); ++l)
    flops +=
        widths.layers[l].keep * layer_flops(parent, parent.layers[l], extents(parent, widths, l),
                                            static_cast<double>(seq_length));
  return flops;
}

}  // namespace elastic
