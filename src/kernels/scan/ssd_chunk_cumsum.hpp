// SPDX-License-Identifier: Apache-2.0
// Step 1 of the chunked scan: time steps and the sums of their decays inside each chunk.
// Extents: kernels/scan/ssd_shape.hpp.
//
//   Delta_t  = softplus(m_h dt_raw_t + dt_bias_h)
//   A_h      = -exp(A_log_h)
//   cumsum_t = sum_{s <= t} Delta_s A_h
//
// The sum starts anew at every chunk and wherever a segment begins, so that no document changes
// the bits of the next. Mamba-2 (arXiv 2405.21060), listing 1;
// dt is masked as in Megatron-LM, megatron/elastification.
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// [in] dt_raw [T, H], A_log [H], dt_bias [H], dt_mask [H] or empty, segment [T] or empty
/// [out] dt [T, H], dA_cumsum [T, H]
template <class T>
void ssd_chunk_cumsum_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dt_raw,
                              In1<T> A_log, In1<T> dt_bias, In1<T> dt_mask, In1<token_t> segment,
                              InOut2<T> dt, InOut2<T> dA_cumsum);
/// [in] ddt, ddA_cumsum [T, H]: gradients by the outputs; dt and the inputs of the forward;
///      workspace of ssd_chunk_cumsum_workspace_size(shape) elements
/// [out] ddt_raw [T, H]
/// [in, out] dA_log, ddt_bias [H] +=, ddt_mask [H] += or empty
template <class T>
void ssd_chunk_cumsum_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> ddt,
                               In2<T> ddA_cumsum, In2<T> dt, In2<T> dt_raw, In1<T> A_log,
                               In1<T> dt_bias, In1<T> dt_mask, In1<token_t> segment,
                               InOut2<T> ddt_raw, InOut1<T> dA_log, InOut1<T> ddt_bias,
                               InOut1<T> ddt_mask, InOut1<T> workspace);
index_t ssd_chunk_cumsum_workspace_size(const SsdShape& shape);

}  // namespace elastic::kernels
