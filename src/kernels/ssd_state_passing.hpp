// SPDX-License-Identifier: Apache-2.0
// Step 3 of the chunked scan: the short recurrence over chunks. Extents: kernels/ssd_shape.hpp.
//
//   S_0 = 0,   S_{k+1} = d_k S_k + Z_k,   d_k = exp(cumsum_last), or 0 where a document begins in
//   chunk k
//
// Mamba-2 (arXiv 2405.21060), section 6.
#pragma once
#include "kernels/ssd_shape.hpp"

namespace elastic::kernels {

/// [in] dA_cumsum [T, H], segment [T] or empty; [in, out] states [B*K*H, P*N]: Z_k in, S_k (at the
/// beginning of chunk k) out.
template <class S>
void ssd_state_passing_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<S> dA_cumsum,
                               In1<token_t> segment, InOut2<S> states);
/// [in, out] dstates [B*K*H, P*N]: in, the gradients by S_k through the outputs of chunk k; out,
/// the gradients by Z_k, which are the whole gradients by S_{k+1}. The gradient by d_k is part of
/// ssd_chunk_state_backward.
template <class S>
void ssd_state_passing_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<S> dA_cumsum,
                                In1<token_t> segment, InOut2<S> dstates);

}  // namespace elastic::kernels
