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
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// The states of the first chunks count if in.incoming is there and its document goes on.
/// [in] saved after state passing
/// [out] y [T, H*P]
template <class T>
void ssd_chunk_scan_forward(const ExecutionSpace& exec, const SsdShape& shape,
                            const SsdInputs<T>& in, const SsdSaved<T>& saved, InOut2<T> y);
/// Gradients through this step alone.
/// [in] dy [T, H*P]
/// [out] work.dstates, dssm_C, work.ddt, work.ddA; dx, dssm_B as work.sum_of_dx, .sum_of_dssm_B
/// [in, out] dssm_D +=
template <class T>
void ssd_chunk_scan_backward(const ExecutionSpace& exec, const SsdShape& shape,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved, In2<T> dy,
                             const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);

}  // namespace elastic::kernels
