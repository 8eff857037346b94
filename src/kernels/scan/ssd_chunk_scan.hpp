// SPDX-License-Identifier: Apache-2.0
// Step 4 of the chunked scan: the outputs (Mamba-2, arXiv 2405.21060, section 6). Extents:
// kernels/scan/ssd_shape.hpp. For position i of a chunk that begins with state S:
//
//   y_i = sum_{j <= i} exp(cumsum_i - cumsum_j) (C_i . B_j) Delta_j x_j
//       + exp(cumsum_i) S C_i
//       + D_h x_i
//
// The sum is over positions of i's document. S counts only where i belongs to the document of the
// token before the chunk. The scores C_i . B_j are shared by the heads of a group.
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// The states of the first chunks count if `incoming` is there and its document goes on.
/// [in] states [B*K*H, P*N] after state passing, x [T, H*P], ssm_B, ssm_C [T, G*N], dt, dA_cumsum
///      [T, H], ssm_D [H], segment [T] or empty, incoming
/// [out] y [T, H*P]
template <class T>
void ssd_chunk_scan_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> states,
                            In2<T> x, In2<T> ssm_B, In2<T> ssm_C, In2<T> dt, In2<T> dA_cumsum,
                            In1<T> ssm_D, In1<token_t> segment, InOut2<T> y,
                            const SsdIncoming<T>& incoming = {});
/// Gradients through this step alone.
/// [in] dy [T, H*P] and the inputs of the forward;
///      workspace of ssd_chunk_scan_workspace_size(shape) elements
/// [out] dstates [B*K*H, P*N], dx [T, H*P], dssm_B, dssm_C [T, G*N], ddt, ddA_cumsum [T, H]
/// [in, out] dssm_D [H] +=
template <class T>
void ssd_chunk_scan_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dy,
                             In2<T> states, In2<T> x, In2<T> ssm_B, In2<T> ssm_C, In2<T> dt,
                             In2<T> dA_cumsum, In1<T> ssm_D, In1<token_t> segment,
                             InOut2<T> dstates, InOut2<T> dx, InOut2<T> dssm_B, InOut2<T> dssm_C,
                             InOut2<T> ddt, InOut2<T> ddA_cumsum, InOut1<T> dssm_D,
                             InOut1<T> workspace, const SsdIncoming<T>& incoming = {});
index_t ssd_chunk_scan_workspace_size(const SsdShape& shape);

}  // namespace elastic::kernels
