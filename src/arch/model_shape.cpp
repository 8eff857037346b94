// SPDX-License-Identifier: Apache-2.0
#include "arch/model_shape.hpp"

#include "arch/layer_kind.hpp"
#include "arch/shape_limits.hpp"

namespace elastic {
namespace {

void check_extent(const std::string& what, index_t value, index_t most = max_extent) {
  if (value < 1 || value > most)
    throw InputError(fmt::format("{} is {}, expected 1 to {}", what, value, most));
}

void check_layer(index_t index, const LayerShape& layer) {
  const auto* kind = find_layer_kind(layer.symbol());
  if (!kind)
    throw InputError(fmt::format("layer {} is of unknown kind '{}', expected {}", index,
                                 layer.symbol(), list_layer_kinds()));
  const std::string place = fmt::format("layer {} ({})", index, layer.symbol());
  check_extent(place + ": width", layer.width);
  check_extent(place + ": head_channels", layer.head_channels);
  check_extent(place + ": num_groups", layer.num_groups);
  check_extent(place + ": width * head_channels", layer.inner());
  if (layer.width % layer.num_groups != 0)
    throw InputError(fmt::format("{}: width {} is not divisible by its {} groups", place,
                                 layer.width, layer.num_groups));
  if (!kind->deck.head_channels && layer.head_channels != 1)
    throw InputError(
        fmt::format("{}: {} layers have no head channels, expected 1", place, kind->name));
  if (!kind->deck.num_groups && layer.num_groups != 1)
    throw InputError(fmt::format("{}: {} layers have no groups, expected 1", place, kind->name));
}

}  // namespace

std::string ModelShape::pattern() const {
  std::string text;
  for (const auto& layer : layers) text += layer.symbol();
  return text;
}

index_t ModelShape::extent(Dim dim, index_t layer) const {
  if (dim == Dim::fixed) return 0;
  if (dim == Dim::hidden) return hidden_size;
  ELASTIC_REQUIRE(0 <= layer && layer < num_layers(), "layer {} of {}", layer, num_layers());
  const auto& shape = layers[static_cast<std::size_t>(layer)];
  const auto& kind = description_of(shape);
  if (dim == kind.inner_dim) return shape.inner();
  ELASTIC_REQUIRE(dim == kind.unit_dim, "layer {} ({}) has no dimension {}", layer, kind.name,
                  dim_name(dim));
  return shape.width;
}

void check_shape(const ModelShape& shape) {
  check_extent("vocabulary size", shape.vocab_size);
  check_extent("hidden size", shape.hidden_size);
  check_extent("Mamba state dimension", shape.mamba_state_dim);
  check_extent("Mamba convolution width", shape.mamba_d_conv);
  check_extent("chunk size", shape.chunk_size);
  check_extent("number of layers", shape.num_layers(), max_layers);
  if (!(shape.norm_epsilon > 0 && shape.norm_epsilon <= 1))
    throw InputError(
        fmt::format("norm epsilon is {}, expected more than 0, at most 1", shape.norm_epsilon));
  for (index_t l = 0; l < shape.num_layers(); ++l) check_layer(l, shape.layers[l]);
}

}  // namespace elastic
