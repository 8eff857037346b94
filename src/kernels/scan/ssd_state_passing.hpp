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
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// [in] saved.dA_cumsum
/// [in, out] saved.states: Z_k in, S_k (at the beginning of chunk k) out
/// [out] saved.final_state = S_K, or empty
template <class T>
void ssd_state_passing_forward(const ExecutionSpace& exec, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved);
/// The gradient by d_k is part of ssd_chunk_state_backward.
/// [in] dfinal_state: gradient by S_K, or empty
/// [in, out] work.dstates: in, the gradients by S_k through the outputs of chunk k; out, those by
///           Z_k, which are the whole gradients by S_{k+1}
/// [out] dincoming_state by S_0, or empty
template <class T>
void ssd_state_passing_backward(const ExecutionSpace& exec, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);

enum class Direction { forward, backward };
/// What a span contributes, without the pass itself.
/// [in] states [B*K*H, P*N]: what forward (or backward) gets, unchanged; in.incoming, of which only
///      the segments and whether there is a state count
/// [out] total [B*H, P*N], decay [B*H]
template <class T>
void ssd_state_passing_total(const ExecutionSpace& exec, const SsdShape& shape, Direction direction,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved,
                             In2<Accumulate<T>> states, InOut2<Accumulate<T>> total,
                             InOut1<Accumulate<T>> decay);

}  // namespace elastic::kernels
