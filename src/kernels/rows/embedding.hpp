// SPDX-License-Identifier: Apache-2.0
// Word embeddings: y_t = W[token_t]. Backward sums rows in the order of the tokens (no atomics).
//
// The vocabulary may be sharded over ranks (base/shard.hpp). W then holds the rows of the words
// of one rank, y_t is zero where the word is another's, and the sum over ranks is the embedding.
#pragma once
#include "base/shard.hpp"
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] tokens [T] ids in [0, V), weight [V', D], V' = local_count(V, shard)
/// [out] y [T, D]
template <class T>
void embedding_forward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> weight, InOut2<T> y,
                       const Shard& shard = {});
/// dW[token_t] += dy_t for the words of this rank.
/// [in] tokens [T], dy [T, D]
/// [in, out] dweight [V', D] +=
template <class T>
void embedding_backward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> dy,
                        InOut2<Accumulate<T>> dweight, const Shard& shard = {});

}  // namespace elastic::kernels
