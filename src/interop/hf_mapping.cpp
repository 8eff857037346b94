// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_mapping.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

HfPart part_of(const ParameterInfo& info, index_t first_row) {
  const auto rows = info.vector ? info.columns : info.rows,
             columns = info.vector ? 1 : info.columns;
  const Dim row_dim = info.vector ? info.column_dim : info.row_dim,
            column_dim = info.vector ? Dim::fixed : info.column_dim;
  return {info.name, first_row, rows, columns, row_dim, column_dim, info.layer, info.vector};
}

/// A matrix [rows, D], or for 0 rows a vector [D].
HfTensor hidden_tensor(const std::string& name, const std::string& ours, index_t rows,
                       index_t hidden, index_t layer = -1) {
  const bool vector = rows == 0;
  HfPart part{.ours = ours,
              .first_row = 0,
              .rows = vector ? hidden : rows,
              .columns = vector ? 1 : hidden,
              .row_dim = vector ? Dim::hidden : Dim::fixed,
              .column_dim = vector ? Dim::fixed : Dim::hidden,
              .layer = layer,
              .vector = vector};
  return {name, vector ? std::vector<index_t>{hidden} : std::vector<index_t>{rows, hidden}, {part}};
}

/// Tensors of ours that lie in the same one of theirs come below each other.
void add_layer(const ModelShape& shape, index_t index, const std::string& prefix,
               std::vector<HfTensor>& tensors) {
  const std::string layer = fmt::format("layers.{}.", index);
  tensors.push_back(hidden_tensor(prefix + layer + "norm.weight", layer + "norm.weight", 0,
                                  shape.hidden_size, index));
  const auto first = static_cast<std::ptrdiff_t>(tensors.size());
  const auto& kinds = description_of(shape.layers[static_cast<std::size_t>(index)]).tensors;
  const auto infos = layer_tensors(shape, index);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const std::string name = prefix + layer + "mixer." + kinds[i].hf_tensor;
    auto theirs = std::find_if(tensors.begin() + first, tensors.end(),
                               [&](const HfTensor& tensor) { return tensor.name == name; });
    if (theirs == tensors.end()) {
      tensors.push_back({.name = name, .shape = {0}, .parts = {}});
      theirs = std::prev(tensors.end());
      if (kinds[i].columns == TensorExtent::taps) theirs->shape.push_back(1);
      if (!infos[i].vector) theirs->shape.push_back(infos[i].columns);
    }
    theirs->parts.push_back(part_of(infos[i], theirs->shape[0]));
    theirs->shape[0] += theirs->parts.back().rows;
  }
}

}  // namespace

index_t HfTensor::columns() const {
  index_t count = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

std::vector<HfTensor> hf_tensors(const ModelShape& shape, const std::string& prefix, bool tied) {
  std::vector<HfTensor> tensors;
  tensors.push_back(hidden_tensor(prefix + "embeddings.weight", "word_embeddings", shape.vocab_size,
                                  shape.hidden_size));
  for (index_t l = 0; l < shape.num_layers(); ++l) add_layer(shape, l, prefix, tensors);
  tensors.push_back(
      hidden_tensor(prefix + "norm_f.weight", "final_norm.weight", 0, shape.hidden_size));
  if (!tied)
    tensors.push_back(
        hidden_tensor("lm_head.weight", "output_layer", shape.vocab_size, shape.hidden_size));
  return tensors;
}

std::vector<index_t> hf_order(const ModelShape& shape, Dim dim, index_t layer) {
  if (dim == Dim::fixed || dim == Dim::hidden) return {};
  const auto& widths = shape.layers[static_cast<std::size_t>(layer)];
  const auto& kind = description_of(widths);
  if (!kind.deck.num_groups) return {};
  const index_t block = dim == kind.unit_dim ? 1 : widths.head_channels;
  const index_t heads_per_group = widths.width / widths.num_groups;
  std::vector<index_t> order;
  order.reserve(static_cast<std::size_t>(widths.width * block));
  for (index_t h = 0; h < widths.width; ++h) {
    const index_t theirs = h % widths.num_groups * heads_per_group + h / widths.num_groups;
    for (index_t c = 0; c < block; ++c) order.push_back(theirs * block + c);
  }
  return order;
}

}  // namespace elastic
