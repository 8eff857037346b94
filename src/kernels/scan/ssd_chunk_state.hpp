// SPDX-License-Identifier: Apache-2.0
// Step 2 of the chunked scan: what each chunk adds to the state (Mamba-2, arXiv 2405.21060, section
// 6). Extents: kernels/scan/ssd_shape.hpp.
//
//   Z = sum_j exp(cumsum_last - cumsum_j) Delta_j x_j B_j^T
//
// over the positions j of the last document of the chunk.
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// [in] x [T, H*P], ssm_B [T, G*N], dt, dA_cumsum [T, H], segment [T] or empty
/// [out] states [B*K*H, P*N] = Z
template <class T>
void ssd_chunk_state_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> x,
                             In2<T> ssm_B, In2<T> dt, In2<T> dA_cumsum, In1<token_t> segment,
                             InOut2<T> states);
/// Row k+1 of `states` AFTER state passing gives the gradient by the last sum of chunk k,
/// that of state passing included.
/// [in] dstates [B*K*H, P*N]: gradients by Z; states [B*K*H, P*N]; final_state [B*H, P*N] where
///      it has a gradient, else empty
/// [in, out] dx [T, H*P] +=, dssm_B [T, G*N] +=, ddt [T, H] +=, ddA_cumsum [T, H] +=
template <class T>
void ssd_chunk_state_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dstates,
                              In2<T> states, In2<T> x, In2<T> ssm_B, In2<T> dt, In2<T> dA_cumsum,
                              In1<token_t> segment, InOut2<T> dx, InOut2<T> dssm_B, InOut2<T> ddt,
                              InOut2<T> ddA_cumsum, In2<T> final_state = {});

}  // namespace elastic::kernels
