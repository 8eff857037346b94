// SPDX-License-Identifier: Apache-2.0
#include "elastic/cost_model.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"
#include "elastic/measured/measured_times.hpp"

namespace elastic {
namespace {

LayerExtents extents(const ModelShape& parent, index_t l, double hidden,
                     const ExpectedLayer& layer) {
  const auto& shape = parent.layers[l];
  return {hidden, layer.width, layer.width * layer.head_channels,
          description_of(shape).side(parent, static_cast<double>(shape.num_groups),
                                     layer.head_channels)};
}

LayerExtents extents(const ModelShape& parent, const ExpectedWidths& widths, index_t l) {
  return extents(parent, l, widths.hidden, widths.layers[l]);
}

/// Bytes of a cache per element that a kind counts for one sequence.
double bytes_per_element(const LayerDescription& kind, const CostConfig& config) {
  const double bytes =
      kind.cache_kind == CacheKind::keys_values ? config.kv_bytes : config.ssm_bytes;
  return bytes * static_cast<double>(config.batch);
}

double flops(const LayerWork& work) {
  return work.products + work.attention + work.scan + work.convolution;
}

const MeasuredTimes& times_of(const CostConfig& config) {
  ELASTIC_REQUIRE(config.times, "a cost in {} before anything was measured",
                  budget_kind_text(config.kind));
  return *config.times;
}

double cost_of_layer(const ModelShape& parent, const LayerShape& shape, const LayerExtents& e,
                     const CostConfig& config) {
  const auto& kind = description_of(shape);
  switch (config.kind) {
    case BudgetKind::parameters:
      return kind.parameters(parent, e);
    case BudgetKind::memory:
      return config.weight_bytes * kind.parameters(parent, e) +
             bytes_per_element(kind, config) *
                 kind.cache(parent, e, static_cast<double>(config.seq_length));
    case BudgetKind::flops:
      return flops(kind.forward_work(parent, e, {config.seq_length}));
    case BudgetKind::seconds:
      return times_of(config).of(shape).seconds(e);
  }
  return 0;
}

/// d cost of a layer / d one extent. Work is affine in each extent (doc/adding_a_layer.md), so the
/// difference over any step is the derivative.
double flops_slope(const ModelShape& parent, const LayerShape& shape, const LayerExtents& e,
                   const CostConfig& config, double LayerExtents::*extent) {
  LayerExtents none = e, twice = e;
  none.*extent = 0;
  twice.*extent = std::max(1.0, 2 * e.*extent);
  return (cost_of_layer(parent, shape, twice, config) -
          cost_of_layer(parent, shape, none, config)) /
         (twice.*extent);
}

LayerExtents layer_gradient(const ModelShape& parent, const LayerShape& shape,
                            const LayerExtents& e, const CostConfig& config) {
  if (config.kind == BudgetKind::seconds) return times_of(config).of(shape).gradient(e);
  const auto& kind = description_of(shape);
  const auto slope = [&](double LayerExtents::*extent) {
    return flops_slope(parent, shape, e, config, extent);
  };
  if (config.kind == BudgetKind::flops)
    return {slope(&LayerExtents::hidden), slope(&LayerExtents::width), slope(&LayerExtents::inner),
            slope(&LayerExtents::side)};
  const auto p = kind.parameters_gradient(parent, e);
  if (config.kind == BudgetKind::parameters) return p;
  const auto c = kind.cache_gradient(parent, static_cast<double>(config.seq_length));
  const double w = config.weight_bytes, b = bytes_per_element(kind, config);
  return {w * p.hidden + b * c.hidden, w * p.width + b * c.width, w * p.inner + b * c.inner,
          w * p.side + b * c.side};
}

/// Cost of each hidden channel outside the layers.
double cost_per_hidden(const ModelShape& parent, const CostConfig& config) {
  const auto vocab = static_cast<double>(parent.vocab_size);
  if (config.kind == BudgetKind::seconds) return times_of(config).ends.gradient({}).hidden;
  if (config.kind == BudgetKind::flops) return 2 * vocab;
  return (config.kind == BudgetKind::memory ? config.weight_bytes : 1.0) * (2 * vocab + 1);
}

/// Cache bytes of the layers that keep a cache of this kind.
double cache_bytes(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config,
                   CacheKind which) {
  double bytes = 0;
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const auto& kind = description_of(parent.layers[l]);
    if (kind.cache_kind == which)
      bytes +=
          widths.layers[l].keep * bytes_per_element(kind, config) *
          kind.cache(parent, extents(parent, widths, l), static_cast<double>(config.seq_length));
  }
  return bytes;
}

/// By the chain rule from the extents back to width and head channels.
ExpectedLayer chain(const ModelShape& parent, const LayerShape& shape, const ExpectedLayer& layer,
                    const LayerExtents& by, double keep) {
  const auto& kind = description_of(shape);
  const double side_per_channel = kind.group_content == GroupContent::head_channels
                                      ? kind.side(parent, static_cast<double>(shape.num_groups), 1)
                                      : 0;
  return {layer.keep * (by.width + layer.head_channels * by.inner),
          layer.keep * (layer.width * by.inner + side_per_channel * by.side), keep};
}

}  // namespace

const char* budget_kind_name(BudgetKind kind) {
  switch (kind) {
    case BudgetKind::parameters:
      return "parameters";
    case BudgetKind::memory:
      return "memory";
    case BudgetKind::flops:
      return "flops";
    case BudgetKind::seconds:
      return "seconds";
  }
  return "";
}
const char* budget_kind_text(BudgetKind kind) {
  switch (kind) {
    case BudgetKind::parameters:
      return "parameters";
    case BudgetKind::memory:
      return "bytes of inference memory";
    case BudgetKind::flops:
      return "FLOPs per token";
    case BudgetKind::seconds:
      return "seconds per token";
  }
  return "";
}

ExpectedWidths expected_widths(const SubmodelSpec& spec) {
  ExpectedWidths widths{static_cast<double>(spec.hidden_size), {}};
  for (const auto& layer : spec.layers)
    widths.layers.push_back({static_cast<double>(layer.width),
                             static_cast<double>(layer.head_channels), layer.keep ? 1.0 : 0.0});
  return widths;
}

double parameter_count(const ModelShape& parent, const ExpectedWidths& widths) {
  return cost(parent, widths, CostConfig{});
}
double parameter_count(const ModelShape& parent, const SubmodelSpec& spec) {
  return parameter_count(parent, expected_widths(spec));
}
double parameter_count(const ModelShape& parent) {
  return parameter_count(parent, full_spec(parent));
}

double kv_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                      const CostConfig& config) {
  return cache_bytes(parent, widths, config, CacheKind::keys_values);
}
double ssm_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                       const CostConfig& config) {
  return cache_bytes(parent, widths, config, CacheKind::state);
}

double ends_cost(const ModelShape& parent, double hidden, const CostConfig& config) {
  if (config.kind == BudgetKind::seconds) return times_of(config).ends.seconds({.hidden = hidden});
  return cost_per_hidden(parent, config) * hidden;
}
double layer_cost(const ModelShape& parent, index_t layer, double hidden,
                  const ExpectedLayer& widths, const CostConfig& config) {
  return cost_of_layer(parent, parent.layers[layer], extents(parent, layer, hidden, widths),
                       config);
}
double cost(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config) {
  double sum = ends_cost(parent, widths.hidden, config);
  for (index_t l = 0; l < parent.num_layers(); ++l)
    sum += widths.layers[l].keep * layer_cost(parent, l, widths.hidden, widths.layers[l], config);
  return sum;
}
double cost(const ModelShape& parent, const SubmodelSpec& spec, const CostConfig& config) {
  return cost(parent, expected_widths(spec), config);
}
double relative_cost(const ModelShape& parent, const SubmodelSpec& spec, const CostConfig& config) {
  return cost(parent, spec, config) / cost(parent, full_spec(parent), config);
}

ExpectedWidths cost_gradient(const ModelShape& parent, const ExpectedWidths& widths,
                             const CostConfig& config) {
  ExpectedWidths gradient{cost_per_hidden(parent, config), {}};
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const auto& shape = parent.layers[l];
    const auto& layer = widths.layers[l];
    const auto e = extents(parent, widths, l);
    const auto by = layer_gradient(parent, shape, e, config);
    gradient.hidden += layer.keep * by.hidden;
    gradient.layers.push_back(
        chain(parent, shape, layer, by, cost_of_layer(parent, shape, e, config)));
  }
  return gradient;
}

double forward_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                               index_t seq_length) {
  return cost(parent, spec, {.kind = BudgetKind::flops, .seq_length = seq_length});
}

}  // namespace elastic
