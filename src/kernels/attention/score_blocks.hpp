// SPDX-License-Identifier: Apache-2.0
// Extents of an attention, and how much of its scores is in memory at a time where they are
// products of matrices.
#pragma once
#include <algorithm>

#include "base/types.hpp"

namespace elastic::kernels {

/// Extents of one call.
struct AttentionShape {
  index_t batch = 0;       ///< B
  index_t seq_length = 0;  ///< L, queries of a sequence
  index_t num_heads = 0;   ///< A, multiple of R
  index_t num_groups = 0;  ///< R
  index_t head_dim = 0;    ///< C; scale = 1/sqrt(C)
  index_t q_begin = 0;     ///< position of the first query
  index_t kv_length = 0;   ///< L', keys of a sequence, at least q_begin + L; 0: L

  KOKKOS_INLINE_FUNCTION constexpr index_t num_keys() const {
    return kv_length == 0 ? seq_length : kv_length;
  }
};

/// What is multiplied at a time: so many queries of a sequence with all keys up to the last of
/// them, for as many sequences and KV heads as have room.
struct ScoreBlocks {
  index_t queries = 0;  ///< in a block
  index_t scores = 0;   ///< room for one matrix of scores, in elements of Accumulate<T>
};

/// Elements from one row of scores to the next; rows begin at multiples of 64 bytes.
constexpr index_t score_row(index_t keys) { return (keys + 15) / 16 * 16; }
/// Elements of the scores of one KV head with `queries` queries of one sequence.
constexpr index_t scores_of_kv_head(const AttentionShape& shape, index_t queries, index_t keys) {
  return queries * (shape.num_heads / std::max<index_t>(shape.num_groups, 1)) * score_row(keys);
}

/// At most 2^26 scores (256 MiB of float; backward has two matrices of them):
///
///   queries = 2^26 / (B A keys), between 256 and max(256, L/8, at most 1024)
///   scores  = min(2^26, queries A keys B),   keys = L'
///
/// but always room for one KV head of one sequence, whose queries become fewer until it fits. A
/// device fills up with products of many rows; the upper triangle of a block is lost work.
constexpr ScoreBlocks score_blocks(const AttentionShape& shape) {
  constexpr index_t most_scores = index_t(1) << 26, few = 256, many = 1024, unit = 64;
  const index_t keys = shape.num_keys();
  const index_t of_query = std::max<index_t>(scores_of_kv_head(shape, 1, keys), 1),
                heads = std::max<index_t>(shape.batch * shape.num_groups, 1);
  const index_t most = std::max(few, std::min(many, shape.seq_length / 8 / unit * unit));
  index_t queries = most_scores / (of_query * heads) / unit * unit;
  queries = std::min(std::max(queries, few), most);
  queries = std::min(queries, std::min(shape.seq_length, most_scores / of_query));
  queries = std::max<index_t>(queries, 1);
  const index_t one = queries * of_query;
  return {queries, std::max(one, std::min(most_scores, one * heads))};
}

/// Backward: scores and their gradients; dk and dv, where T is too narrow to add them up in place.
template <class T>
constexpr index_t batched_attention_workspace_size(const AttentionShape& shape) {
  const index_t keys = shape.batch * shape.num_keys() * shape.num_groups * shape.head_dim;
  return 2 * score_blocks(shape).scores + (std::is_same_v<T, Accumulate<T>> ? 0 : 2 * keys);
}

}  // namespace elastic::kernels
