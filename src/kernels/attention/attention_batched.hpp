// SPDX-License-Identifier: Apache-2.0
// Attention by batched products of matrices, with the scores of a block of queries in memory:
//
//   forward   S = Q K^T;  P = softmax(scale S);  O = P V
//   backward  S = Q K^T;  dP = dO V^T;  P = exp(scale S - lse);  dS = scale P (dP - delta);
//             dQ = dS K;  dK += dS^T Q;  dV += P^T dO;      delta_i = dO_i . O_i
//
// Every query block is multiplied by all keys up to its last query; what a row does not see gets
// the probability 0. P and dS are T and lie over S and dP; each element is written once and read
// twice. Per score that is 12 bytes of traffic forward and 26 backward in bfloat16 (the second
// reading of S comes from a cache).
//
// The query heads of KV head r are a = j R + r: rows (i, j) of a [L, A*C] matrix without gaps lie
// R*C apart, so that one product is that of all heads of a group, and sums dk and dv over them.
// Internal to kernels/attention.
#pragma once
#include "kernels/attention/attention.hpp"

namespace elastic::kernels {

/// Whether the rows (query, head of a group) of a matrix [B*L, A*C] are evenly spaced.
template <class T>
bool rows_are_even(const AttentionShape& shape, const View2<T>& matrix) {
  return shape.num_heads == shape.num_groups ||
         leading_dimension(matrix) == shape.num_heads * shape.head_dim;
}

/// As attention_forward; workspace of blocks.scores elements.
template <class T>
void attention_batched_forward(const Products& products, const AttentionShape& shape,
                               const ScoreBlocks& blocks, const AttentionInputs<T>& in,
                               const AttentionSaved<T>& saved, InOut1<Accumulate<T>> workspace);
/// As attention_backward; workspace of twice that many elements and, where K is not Accumulate<T>,
/// one for each of dk and dv.
template <class T, class K>
void attention_batched_backward(const Products& products, const AttentionShape& shape,
                                const ScoreBlocks& blocks, const AttentionInputs<T>& in,
                                const AttentionSaved<T>& saved, In2<T> dout,
                                const AttentionGradients<T, K>& gradients,
                                InOut1<Accumulate<T>> workspace);

}  // namespace elastic::kernels
