// SPDX-License-Identifier: Apache-2.0
// Step 3 of the chunked scan: the short recurrence over chunks (Mamba-2, arXiv 2405.21060, section
// 6). Extents: kernels/scan/ssd_shape.hpp.
//
//   S_0     = 0 or the incoming state
//   S_{k+1} = d_k S_k + Z_k
//   d_k     = exp(cumsum_last), or 0 where a document begins in chunk k
//
// Over a span of K chunks
//
//   S_K  = decay S_0 + total      decay = prod_k d_k, total = S_K if S_0 = 0
//   dS_0 = decay dS_K + total'    going backward
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// [in] dA_cumsum [T, H], segment [T] or empty, incoming
/// [in, out] states [B*K*H, P*N]: Z_k in, S_k (at the beginning of chunk k) out
/// [out] final_state [B*H, P*N] = S_K, or empty
template <class T>
void ssd_state_passing_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dA_cumsum,
                               In1<token_t> segment, InOut2<T> states,
                               const SsdIncoming<T>& incoming = {}, InOut2<T> final_state = {});
/// The gradient by d_k is part of ssd_chunk_state_backward.
/// [in] incoming as forward, dfinal_state [B*H, P*N] or empty: gradient by S_K
/// [in, out] dstates [B*K*H, P*N]: in, the gradients by S_k through the outputs of chunk k; out,
///           those by Z_k, which are the whole gradients by S_{k+1}
/// [out] dincoming_state [B*H, P*N] by S_0, or empty
template <class T>
void ssd_state_passing_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dA_cumsum,
                                In1<token_t> segment, InOut2<T> dstates,
                                const SsdIncoming<T>& incoming = {}, In2<T> dfinal_state = {},
                                InOut2<T> dincoming_state = {});

enum class Direction { forward, backward };
/// What a span contributes, without the pass itself.
/// [in] states: what forward (or backward) gets, unchanged; incoming, of which only the segments
///      and whether there is a state count
/// [out] total [B*H, P*N], decay [B*H]
template <class T>
void ssd_state_passing_total(const ExecutionSpace& exec, const SsdShape& shape, Direction direction,
                             In2<T> dA_cumsum, In1<token_t> segment, In2<T> states,
                             const SsdIncoming<T>& incoming, InOut2<T> total, InOut1<T> decay);

}  // namespace elastic::kernels
