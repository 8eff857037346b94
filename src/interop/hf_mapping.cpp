// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_mapping.hpp"

#include "model/hybrid_stack.hpp"

namespace elastic {
namespace {

/// All parameters of a model by name; nothing is allocated.
class Declarations {
 public:
  explicit Declarations(const ModelShape& shape) : m_stack(shape, TensorParallel(), m_store) {}

  /// Our tensors below each other, as one of theirs.
  HfTensor tensor(const std::string& name, const std::vector<std::string>& ours) const {
    HfTensor result{.name = name, .shape = {}, .parts = {}};
    index_t row = 0;
    for (const auto& part : ours) {
      const auto* declared = m_store.find(part);
      ELASTIC_REQUIRE(declared != nullptr, "no parameter {}", part);
      result.parts.push_back(part_of(declared->info, row));
      row += result.parts.back().rows;
    }
    result.shape = {row};
    if (!result.parts.front().vector) result.shape.push_back(result.parts.front().columns);
    return result;
  }

 private:
  static HfPart part_of(const ParameterInfo& info, index_t first_row) {
    const auto rows = info.vector ? info.columns : info.rows,
               columns = info.vector ? 1 : info.columns;
    const Dim row_dim = info.vector ? info.column_dim : info.row_dim,
              column_dim = info.vector ? Dim::fixed : info.column_dim;
    return {info.name, first_row, rows, columns, row_dim, column_dim, info.layer, info.vector};
  }

  ParameterStore<Real> m_store;
  HybridStack<Real> m_stack;
};

HfTensor hidden_tensor(const std::string& name, const std::string& ours, index_t rows,
                       index_t hidden) {
  const bool vector = rows == 0;
  HfPart part{.ours = ours,
              .first_row = 0,
              .rows = vector ? hidden : rows,
              .columns = vector ? 1 : hidden,
              .row_dim = vector ? Dim::hidden : Dim::fixed,
              .column_dim = vector ? Dim::fixed : Dim::hidden,
              .layer = -1,
              .vector = vector};
  return {name, vector ? std::vector<index_t>{hidden} : std::vector<index_t>{rows, hidden}, {part}};
}

void add_layer(const Declarations& declarations, LayerKind kind, index_t index,
               const std::string& prefix, std::vector<HfTensor>& tensors) {
  const std::string ours = fmt::format("layers.{}.", index), mixer = ours + "mixer.";
  const auto add = [&](const std::string& name, const std::vector<std::string>& parts) {
    tensors.push_back(declarations.tensor(prefix + ours + name, parts));
  };
  add("norm.weight", {ours + "norm.weight"});
  if (kind == LayerKind::mamba) {
    add("mixer.in_proj.weight", {mixer + "in_proj.z", mixer + "in_proj.x", mixer + "in_proj.B",
                                 mixer + "in_proj.C", mixer + "in_proj.dt"});
    add("mixer.conv1d.weight",
        {mixer + "conv1d.x.weight", mixer + "conv1d.B.weight", mixer + "conv1d.C.weight"});
    auto& shape = tensors.back().shape;
    shape = {shape[0], 1, shape[1]};
    add("mixer.conv1d.bias",
        {mixer + "conv1d.x.bias", mixer + "conv1d.B.bias", mixer + "conv1d.C.bias"});
    for (const char* name : {"A_log", "D", "dt_bias", "norm.weight"})
      add(fmt::format("mixer.{}", name), {mixer + name});
    add("mixer.out_proj.weight", {mixer + "out_proj"});
    return;
  }
  const std::vector<const char*> attention = {"q_proj", "k_proj", "v_proj", "o_proj"},
                                 mlp = {"up_proj", "down_proj"};
  for (const char* name : kind == LayerKind::attention ? attention : mlp)
    add(fmt::format("mixer.{}.weight", name), {mixer + name});
}

}  // namespace

index_t HfTensor::columns() const {
  index_t count = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

std::vector<HfTensor> hf_tensors(const ModelShape& shape, const std::string& prefix, bool tied) {
  const Declarations declarations(shape);
  std::vector<HfTensor> tensors;
  tensors.push_back(hidden_tensor(prefix + "embeddings.weight", "word_embeddings", shape.vocab_size,
                                  shape.hidden_size));
  for (index_t l = 0; l < shape.num_layers(); ++l)
    add_layer(declarations, shape.layers[l].kind, l, prefix, tensors);
  tensors.push_back(
      hidden_tensor(prefix + "norm_f.weight", "final_norm.weight", 0, shape.hidden_size));
  if (!tied)
    tensors.push_back(
        hidden_tensor("lm_head.weight", "output_layer", shape.vocab_size, shape.hidden_size));
  return tensors;
}

std::vector<index_t> hf_order(const ModelShape& shape, Dim dim, index_t layer) {
  if (dim == Dim::fixed || dim == Dim::hidden || dim == Dim::ffn) return {};
  const auto& widths = shape.layers[static_cast<std::size_t>(layer)];
  const index_t block = dim == Dim::mamba_heads ? 1 : widths.head_channels;
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
