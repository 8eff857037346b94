// SPDX-License-Identifier: Apache-2.0
// How the operands of bfloat16 attention on a host lie in memory, in tiles for the matrix units
// (products/matrix_tiles.hpp): extents and sizes. Internal to kernels/attention.
#pragma once
#include "kernels/attention/score_blocks.hpp"
#include "kernels/products/block_product.hpp"
#include "kernels/products/matrix_tiles.hpp"

namespace elastic::kernels {

struct Bfloat16Tiles {
  static constexpr index_t forward_keys = 128;  ///< positions in a tile of keys going forward
  static constexpr index_t keys = 64;           ///< and backward
  static constexpr index_t queries = 64;        ///< positions in a tile of queries
  static constexpr index_t strip = 32;  ///< queries or keys that causality leaves out at a time

  index_t heads;                                      ///< A, query heads of a sequence
  index_t kv_heads;                                   ///< R
  index_t channels;                                   ///< C
  index_t rows;                                       ///< C as rows or columns of a product
  index_t depth;                                      ///< C as what a product sums over
  index_t sequences;                                  ///< B
  index_t query_tiles, key_tiles, forward_key_tiles;  ///< of a sequence

  explicit constexpr Bfloat16Tiles(const AttentionShape& shape)
      : heads(shape.num_heads),
        kv_heads(shape.num_groups),
        channels(shape.head_dim),
        rows(padded(shape.head_dim)),
        depth(padded_depth(shape.head_dim)),
        sequences(shape.batch),
        query_tiles((shape.seq_length + queries - 1) / queries),
        key_tiles((shape.num_keys() + keys - 1) / keys),
        forward_key_tiles((shape.num_keys() + forward_keys - 1) / forward_keys) {}

  /// Numbers of a tile of keys [forward_keys, depth] and one of values [rows, forward_keys].
  constexpr index_t key_value_tile() const { return forward_keys * (depth + rows); }
  /// All of them for each KV head, in elements of float.
  constexpr index_t forward_workspace() const {
    return sequences * kv_heads * forward_key_tiles * key_value_tile() / 2;
  }
  /// What a thread needs, one KV head at a time: of one of its query heads q and dout, in bfloat16
  /// as they are [queries, depth] and transposed [rows, queries] in every tile of queries, dq
  /// [queries, rows], lse and delta; of all together dk and dv [rows, keys] of every tile of keys.
  constexpr index_t backward_slot() const {
    return query_tiles * queries * (2 * rows + depth + 2) + key_tiles * keys * 2 * rows;
  }
  /// As many threads as there are, at most one for each KV head.
  index_t backward_slots() const {
    return math::min<index_t>(sequences * kv_heads, ExecutionSpace().concurrency());
  }
  index_t backward_workspace() const { return backward_slots() * backward_slot(); }
};

}  // namespace elastic::kernels
