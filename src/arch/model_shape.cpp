// SPDX-License-Identifier: Apache-2.0
#include "arch/model_shape.hpp"

namespace elastic {
namespace {

void check_positive(const std::string& what, index_t value) {
  if (value < 1) throw InputError(fmt::format("{} is {}, expected at least 1", what, value));
}

void check_layer(index_t index, const LayerShape& layer) {
  const auto kind = static_cast<char>(layer.kind);
  const std::string place = fmt::format("layer {} ({})", index, kind);
  if (layer.kind != LayerKind::mamba && layer.kind != LayerKind::attention &&
      layer.kind != LayerKind::mlp)
    throw InputError(
        fmt::format("layer {} is of unknown kind '{}', expected M, * or -", index, kind));
  check_positive(place + ": width", layer.width);
  check_positive(place + ": head_channels", layer.head_channels);
  check_positive(place + ": num_groups", layer.num_groups);
  if (layer.width % layer.num_groups != 0)
    throw InputError(fmt::format("{}: width {} is not divisible by its {} groups", place,
                                 layer.width, layer.num_groups));
  if (layer.kind == LayerKind::mlp && (layer.head_channels != 1 || layer.num_groups != 1))
    throw InputError(place + ": an MLP has neither head channels nor groups, expected 1 and 1");
}

}  // namespace

std::string ModelShape::pattern() const {
  std::string text;
  for (const auto& layer : layers) text += static_cast<char>(layer.kind);
  return text;
}

index_t ModelShape::extent(Dim dim, index_t layer) const {
  if (dim == Dim::fixed) return 0;
  if (dim == Dim::hidden) return hidden_size;
  ELASTIC_REQUIRE(0 <= layer && layer < num_layers(), "layer {} of {}", layer, num_layers());
  const auto& shape = layers[layer];
  const auto kind = dim == Dim::ffn               ? LayerKind::mlp
                    : dim == Dim::attention_inner ? LayerKind::attention
                                                  : LayerKind::mamba;
  ELASTIC_REQUIRE(shape.kind == kind, "layer {} is of kind {}, the dimension of {}", layer,
                  static_cast<char>(shape.kind), static_cast<char>(kind));
  return dim == Dim::mamba_heads ? shape.width : shape.inner();
}

void check_shape(const ModelShape& shape) {
  check_positive("vocabulary size", shape.vocab_size);
  check_positive("hidden size", shape.hidden_size);
  check_positive("Mamba state dimension", shape.mamba_state_dim);
  check_positive("Mamba convolution width", shape.mamba_d_conv);
  check_positive("chunk size", shape.chunk_size);
  check_positive("number of layers", shape.num_layers());
  if (!(shape.norm_epsilon > 0))
    throw InputError(fmt::format("norm epsilon is {}, expected more than 0", shape.norm_epsilon));
  for (index_t l = 0; l < shape.num_layers(); ++l) check_layer(l, shape.layers[l]);
}

}  // namespace elastic
