// SPDX-License-Identifier: Apache-2.0
// The layers of a parent from a pattern such as "M-M*-..." (Megatron's hybrid_layer_pattern):
//
//   M  Mamba-2      *  attention      -  MLP
#pragma once
#include <string_view>

#include "arch/model_shape.hpp"

namespace elastic {

/// The pattern and the extents of a parent as a deck states them; the names are Megatron's.
/// All layers of a kind are equal.
struct ModelConfig {
  std::string hybrid_layer_pattern = "M-M*-";  ///< white space is ignored
  index_t vocab_size = 256;
  index_t hidden_size = 128;
  double norm_epsilon = 1e-5;
  index_t mamba_num_heads = 8, mamba_head_dim = 32, mamba_num_groups = 2, mamba_state_dim = 32,
          mamba_d_conv = 4, chunk_size = 64;
  index_t num_attention_heads = 4, num_query_groups = 2, kv_channels = 32;
  index_t ffn_hidden_size = 512;
};

/// The parent that a deck describes. Throws InputError naming an unknown symbol and its
/// position, or extents that do not fit.
ModelShape make_shape(const ModelConfig& config);

}  // namespace elastic
