// SPDX-License-Identifier: Apache-2.0
#include "arch/hybrid_pattern.hpp"

#include <cctype>

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
    switch (symbol) {
      case 'M':
        shape.layers.push_back({LayerKind::mamba, config.mamba_num_heads, config.mamba_head_dim,
                                config.mamba_num_groups});
        break;
      case '*':
        shape.layers.push_back({LayerKind::attention, config.num_attention_heads,
                                config.kv_channels, config.num_query_groups});
        break;
      case '-':
        shape.layers.push_back({LayerKind::mlp, config.ffn_hidden_size, 1, 1});
        break;
      default:
        throw InputError(
            fmt::format("hybrid_layer_pattern: symbol '{}' at position {}: expected M (Mamba-2), * "
                        "(attention) or - (MLP)",
                        symbol, i + 1));
    }
  }
  if (shape.layers.empty())
    throw InputError(
        "hybrid_layer_pattern is empty: expected symbols M (Mamba-2), * (attention), - (MLP)");
  check_shape(shape);
  return shape;
}

}  // namespace elastic
