// SPDX-License-Identifier: Apache-2.0
#include "elastic/cost_model.hpp"

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

LayerExtents extents(const ModelShape& parent, const ExpectedWidths& widths, index_t l) {
  const auto& shape = parent.layers[l];
  const auto& layer = widths.layers[l];
  return {widths.hidden, layer.width, layer.width * layer.head_channels,
          description_of(shape).side(parent, static_cast<double>(shape.num_groups),
                                     layer.head_channels)};
}

double layer_parameters(const ModelShape& parent, const ExpectedWidths& widths, index_t l) {
  return description_of(parent.layers[l]).parameters(parent, extents(parent, widths, l));
}

/// Cache bytes of the layers that keep a cache of this kind.
double cache_bytes(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config,
                   CacheKind which) {
  double elements = 0;
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const auto& kind = description_of(parent.layers[l]);
    if (kind.cache_kind == which)
      elements += widths.layers[l].keep * kind.cache(parent, extents(parent, widths, l),
                                                     static_cast<double>(config.seq_length));
  }
  return config.cache_bytes * static_cast<double>(config.batch) * elements;
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
    count += widths.layers[l].keep * layer_parameters(parent, widths, l);
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
  return cache_bytes(parent, widths, config, CacheKind::keys_values);
}
double ssm_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                       const CostConfig& config) {
  return cache_bytes(parent, widths, config, CacheKind::state);
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
    const auto& kind = description_of(shape);
    const auto p = kind.parameters_gradient(parent, e);
    const auto c = kind.cache_gradient(parent, seq_length);
    const LayerExtents by{per_parameter * p.hidden + per_element * c.hidden,
                          per_parameter * p.width + per_element * c.width,
                          per_parameter * p.inner + per_element * c.inner,
                          per_parameter * p.side + per_element * c.side};
    gradient.hidden += layer.keep * by.hidden;
    const double whole = per_parameter * kind.parameters(parent, e) +
                         per_element * kind.cache(parent, e, seq_length);
    gradient.layers.push_back(chain(parent, shape, layer, by, whole));
  }
  return gradient;
}

double forward_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                               index_t seq_length) {
  const auto widths = expected_widths(spec);
  double flops = 2 * static_cast<double>(parent.vocab_size) * widths.hidden;
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const LayerWork work = description_of(parent.layers[l])
                               .forward_work(parent, extents(parent, widths, l), {seq_length});
    flops +=
        widths.layers[l].keep * (work.products + work.attention + work.scan + work.convolution);
  }
  return flops;
}

}  // namespace elastic
