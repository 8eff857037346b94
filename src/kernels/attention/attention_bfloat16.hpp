// SPDX-License-Identifier: Apache-2.0
// Attention in bfloat16 on a host by the matrix units of its processor
// (products/matrix_tiles.hpp): online softmax over tiles of keys as in attention_forward.cpp, with
// fp32 scores, maxima and sums. Probabilities and their gradients are rounded to bfloat16 before
// they are multiplied (Dao et al. 2023, FlashAttention-2).
//
// Rows of out, lse and dq do not depend on where a span or a tile of queries begins. Results have
// equal bits with and without such units, up to subnormal numbers. Internal to kernels/attention.
#pragma once
#include "kernels/attention/attention.hpp"

namespace elastic::kernels {

/// As attention_forward; workspace of Bfloat16Tiles::forward_workspace() elements.
void attention_bfloat16_forward(const ExecutionSpace& exec, const AttentionShape& shape,
                                const AttentionInputs<bfloat16>& in,
                                const AttentionSaved<bfloat16>& saved, InOut1<float> workspace,
                                bool units = has_matrix_units());
/// As attention_backward; workspace of Bfloat16Tiles::backward_workspace() elements.
template <class K>
void attention_bfloat16_backward(const ExecutionSpace& exec, const AttentionShape& shape,
                                 const AttentionInputs<bfloat16>& in,
                                 const AttentionSaved<bfloat16>& saved, In2<bfloat16> dout,
                                 const AttentionGradients<bfloat16, K>& gradients,
                                 InOut1<float> workspace, bool units = has_matrix_units());

}  // namespace elastic::kernels
