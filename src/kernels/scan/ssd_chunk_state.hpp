// SPDX-License-Identifier: Apache-2.0
// Step 2 of the chunked scan: what each chunk adds to the state (Mamba-2, arXiv 2405.21060, section
// 6). Extents: kernels/scan/ssd_shape.hpp.
//
//   Z = sum_j exp(cumsum_last - cumsum_j) Delta_j x_j B_j^T
//
// over the positions j of the last document of the chunk.
#pragma once
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// [in] saved.dt, saved.dA_cumsum
/// [out] saved.states = Z
template <class T>
void ssd_chunk_state_forward(const ExecutionSpace& exec, const SsdShape& shape,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved);
/// The gradient by Delta_t A is that through both parts of S_{k+1} = d_k S_k + Z_k, which is why
/// saved.states are those AFTER state passing. The last chunk counts if dfinal_state is there.
/// [in] work.dstates: gradients by Z
/// [in, out] dx, dssm_B (from work.sum_of_dx and .sum_of_dssm_B), work.ddt, work.ddA, all +=
template <class T>
void ssd_chunk_state_backward(const ExecutionSpace& exec, const SsdShape& shape,
                              const SsdInputs<T>& in, const SsdSaved<T>& saved,
                              const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);

}  // namespace elastic::kernels
