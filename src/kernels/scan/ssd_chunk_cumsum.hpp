// SPDX-License-Identifier: Apache-2.0
// Step 1 of the chunked scan: time steps and the sums of their decays inside each chunk.
// Extents: kernels/scan/ssd_shape.hpp.
//
//   Delta_t  = softplus(m_h dt_raw_t + dt_bias_h)
//   A_h      = -exp(A_log_h)
//   cumsum_t = sum_{s <= t} Delta_s A_h
//
// The sum starts anew at every chunk and wherever a segment begins, so that no document changes
// the bits of the next. It is kept in two words (TwoWords of kernels/scan/ssd_chunk.hpp), so that
// its differences have all digits; Delta_s A counts as step_exponent says.
// Mamba-2 (arXiv 2405.21060), listing 1;
// dt is masked as in Megatron-LM, megatron/elastification.
#pragma once
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// [out] saved.dt, saved.dA_cumsum
template <class T>
void ssd_chunk_cumsum_forward(const ExecutionSpace& exec, const SsdShape& shape,
                              const SsdInputs<T>& in, const SsdSaved<T>& saved);
/// [in] work.ddt, work.ddA: gradients by Delta_t and by Delta_t A; saved.dt
/// [out] ddt_raw
/// [in, out] dA_log, ddt_bias +=, ddt_mask += or empty
template <class T>
void ssd_chunk_cumsum_backward(const ExecutionSpace& exec, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved,
                               const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);

}  // namespace elastic::kernels
