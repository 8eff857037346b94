// SPDX-License-Identifier: Apache-2.0
#include "arch/layer_kind.hpp"

#include <memory>

namespace elastic {
namespace {

using Registry = std::vector<std::unique_ptr<const LayerDescription>>;

Registry& registry() {
  static Registry all = [] {
    Registry built_in;
    for (const auto& make : {mamba_kind, attention_kind, mlp_kind})
      built_in.push_back(std::make_unique<const LayerDescription>(make()));
    return built_in;
  }();
  return all;
}

/// Rows or columns of a tensor: how many, what they count, and in which units they are shared out.
struct Side {
  index_t extent;
  Dim dim = Dim::fixed;
  index_t unit = 0;
};
Side side_of(const ModelShape& model, const LayerShape& layer, const LayerDescription& kind,
             TensorExtent extent) {
  switch (extent) {
    case TensorExtent::one:
      return {1};
    case TensorExtent::taps:
      return {model.mamba_d_conv};
    case TensorExtent::hidden:
      return {model.hidden_size, Dim::hidden};
    case TensorExtent::units:
      return {layer.width, kind.unit_dim, 1};
    case TensorExtent::inner:
      return {layer.inner(), kind.inner_dim, layer.head_channels};
    case TensorExtent::shared: {
      const index_t unit =
          kind.group_content == GroupContent::state ? model.mamba_state_dim : layer.head_channels;
      return {layer.num_groups * unit, Dim::fixed, unit};
    }
  }
  throw_contract("a tensor of unknown extents");
}

}  // namespace

double LayerDescription::side(const ModelShape& model, double num_groups,
                              double head_channels) const {
  switch (group_content) {
    case GroupContent::nothing:
      return 0;
    case GroupContent::state:
      return 2 * num_groups * static_cast<double>(model.mamba_state_dim);
    case GroupContent::head_channels:
      return 2 * num_groups * head_channels;
  }
  return 0;
}

LayerExtents LayerDescription::extents(const ModelShape& model, const LayerShape& layer) const {
  return {
      static_cast<double>(model.hidden_size), static_cast<double>(layer.width),
      static_cast<double>(layer.inner()),
      side(model, static_cast<double>(layer.num_groups), static_cast<double>(layer.head_channels))};
}

std::vector<const LayerDescription*> layer_kinds() {
  std::vector<const LayerDescription*> all;
  for (const auto& description : registry()) all.push_back(description.get());
  return all;
}

const LayerDescription* find_layer_kind(char symbol) {
  for (const auto& description : registry())
    if (description->symbol() == symbol) return description.get();
  return nullptr;
}

const LayerDescription& description_of(LayerKind kind) {
  const auto* description = find_layer_kind(static_cast<char>(kind));
  if (!description)
    throw InputError(fmt::format("layer kind '{}' is unknown, expected {}", static_cast<char>(kind),
                                 list_layer_kinds()));
  return *description;
}

LayerKind kind_of_symbol(char symbol) {
  return description_of(static_cast<LayerKind>(symbol)).kind;
}

std::string list_layer_kinds() {
  const auto& all = registry();
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i > 0) text += i + 1 == all.size() ? " or " : ", ";
    text += fmt::format("{} ({})", all[i]->symbol(), all[i]->name);
  }
  return text;
}

void add_layer_kind(const LayerDescription& description) {
  ELASTIC_REQUIRE(!find_layer_kind(description.symbol()), "the layer kind '{}' is there already",
                  description.symbol());
  ELASTIC_REQUIRE(description.shape && description.parameters && description.parameters_gradient &&
                      description.cache && description.cache_gradient && description.forward_work &&
                      description.backward_work && description.memory,
                  "the layer kind '{}' lacks a formula", description.symbol());
  registry().push_back(std::make_unique<const LayerDescription>(description));
}

std::vector<ParameterInfo> layer_tensors(const ModelShape& model, index_t layer) {
  const auto& shape = model.layers.at(static_cast<std::size_t>(layer));
  const auto& kind = description_of(shape);
  std::vector<ParameterInfo> all;
  for (const auto& tensor : kind.tensors) {
    const bool vector = tensor.rows == TensorExtent::one;
    const Side rows = side_of(model, shape, kind, tensor.rows),
               columns = side_of(model, shape, kind, tensor.columns);
    all.push_back({.name = fmt::format("layers.{}.mixer.{}", layer, tensor.name),
                   .rows = rows.extent,
                   .columns = columns.extent,
                   .row_dim = rows.dim,
                   .column_dim = columns.dim,
                   .row_unit = rows.unit,
                   .column_unit = columns.unit,
                   .layer = layer,
                   .weight_decay = !vector,
                   .vector = vector,
                   .exact = tensor.exact,
                   .initial = tensor.initial});
  }
  return all;
}

const LayerShape* first_of_kind(const ModelShape& model, const LayerDescription& description) {
  for (const auto& layer : model.layers)
    if (layer.kind == description.kind) return &layer;
  return nullptr;
}

}  // namespace elastic
