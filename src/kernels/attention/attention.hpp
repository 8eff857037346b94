// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention without positions; memory linear in the sequence (tiles, online
// softmax; Dao et al. 2022, 2023, FlashAttention). Query head a reads KV head a % R: heads are
// stored interleaved across KV groups.
//
//   s_ij  = scale q_i . k_j              for j <= i in the segment of i
//   out_i = sum_j softmax_j(s_ij) v_j
//   lse_i = log sum_j exp(s_ij)
//
// Three routes: on a host tiles with an online softmax, in bfloat16 by the matrix units of the
// processor (attention_bfloat16.hpp); on a device the scores of a block of queries are products of
// matrices, kept in a bounded workspace (attention_batched.hpp).
//
// The queries may be a span of longer sequences whose keys and values are all there:
// query i of the span stands at position q_begin + i. dk and dv are the span's part of the sum over
// queries. On a host, and on the deterministic route of products, out, lse and dq have the bits of
// the whole sequence.
#pragma once
#include "kernels/attention/bfloat16_tiles.hpp"
#include "kernels/attention/score_blocks.hpp"
#include "kernels/backend.hpp"
#include "kernels/products/gemm.hpp"

namespace elastic::kernels {

template <class T>
struct AttentionInputs {
  View2<const T> q;                   ///< [B*L, A*C]
  View2<const T> k, v;                ///< [B*L', R*C]
  View1<const token_t> segment = {};  ///< [B*L'] or empty
};
/// Results of the forward that the backward needs.
template <class T>
struct AttentionSaved {
  View2<T> out;              ///< [B*L, A*C]
  View2<Accumulate<T>> lse;  ///< [B*L, A]
};
/// K is T, or Accumulate<T> where dk and dv are parts of sums that the caller goes on with.
template <class T, class K = T>
struct AttentionGradients {
  View2<T> dq;      ///< shapes of the inputs; overwritten
  View2<K> dk, dv;  ///< the same
};

/// [out] saved; workspace of attention_forward_workspace_size<T>(shape) elements
template <class T>
void attention_forward(const Products& products, const AttentionShape& shape,
                       const AttentionInputs<T>& in, const AttentionSaved<T>& saved,
                       InOut1<Accumulate<T>> workspace);
/// Recomputes the probabilities from lse.
/// [in] dout [B*L, A*C]; workspace of attention_workspace_size<T>(shape) elements
template <class T, class K = T>
void attention_backward(const Products& products, const AttentionShape& shape,
                        const AttentionInputs<T>& in, const AttentionSaved<T>& saved, In2<T> dout,
                        const AttentionGradients<T, K>& gradients, InOut1<Accumulate<T>> workspace);
/// On a device scores; on a host tiles of keys and values in bfloat16, else nothing.
template <class T>
index_t attention_forward_workspace_size(const AttentionShape& shape) {
  if constexpr (!on_host) return score_blocks(shape).scores;
  return std::is_same_v<T, bfloat16> ? Bfloat16Tiles(shape).forward_workspace() : 0;
}
/// On a device scores; on a host dk, dv and delta of every head, in bfloat16 operands and sums of
/// one KV head for each thread.
template <class T>
index_t attention_workspace_size(const AttentionShape& shape) {
  if constexpr (!on_host) return batched_attention_workspace_size<T>(shape);
  if constexpr (std::is_same_v<T, bfloat16>) return Bfloat16Tiles(shape).backward_workspace();
  return shape.batch * shape.num_heads * (2 * shape.num_keys() * shape.head_dim + shape.seq_length);
}
/// One new position of each of B sequences against a cache, of which the first `length` rows
/// of each sequence count; the new position is the last of them. shape.seq_length = max_length.
/// [in] q [B, A*C], k_cache, v_cache [B*max_length, R*C]
/// [out] out [B, A*C]
template <class T>
void attention_step(const ExecutionSpace& exec, const AttentionShape& shape, index_t length,
                    In2<T> q, In2<T> k_cache, In2<T> v_cache, InOut2<T> out);

}  // namespace elastic::kernels
