// SPDX-License-Identifier: Apache-2.0
#include "arch/hybrid_pattern.hpp"

#include <cctype>

#include "arch/layer_kind.hpp"

namespace elastic {

ModelShape make_shape(const ModelConfig& config) {
  ModelShape shape{.vocab_size = config.vocab_size,
                   .hidden_size = config.hidden_size,
                   .norm_epsilon = config.norm_epsilon,
                   .mamba_state_dim = config.mamba_state_dim,
                   .mamba_d_conv = config.mamba_d_conv,
                   .chunk_size = config.chunk_size,
                   .layers = {}};
  for (std::size_t i = 0; i < config.hybrid_layer_pattern.size(); ++i) {
    const char symbol = config.hybrid_layer_pattern[i];
    if (std::isspace(static_cast<unsigned char>(symbol))) continue;
    const auto* kind = find_layer_kind(symbol);
    if (!kind)
      throw InputError(fmt::format("hybrid_layer_pattern: symbol '{}' at position {}: expected {}",
                                   symbol, i + 1, list_layer_kinds()));
    shape.layers.push_back(kind->shape(config));
  }
  if (shape.layers.empty())
    throw InputError(
        fmt::format("hybrid_layer_pattern is empty: expected symbols {}", list_layer_kinds()));
  check_shape(shape);
  return shape;
}

}  // namespace elastic
