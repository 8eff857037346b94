// SPDX-License-Identifier: Apache-2.0
// The whole state-space scan of the Mamba-2 mixer: the four chunked steps in order, forward and backward, and one step of
// the plain recurrence for generation. Extents and equations: kernels/ssd_shape.hpp.
#pragma once
#include "kernels/ssd_shape.hpp"

namespace elastic::kernels {

/// Inputs of the scan. dt_raw is the projection before softplus: Delta = softplus(m_h dt_raw + dt_bias).
template <class S>
struct SsdInputs {
  View2<const S> x;        ///< [T, H*P]
  View2<const S> ssm_B;    ///< [T, G*N]
  View2<const S> ssm_C;    ///< [T, G*N]
  View2<const S> dt_raw;   ///< [T, H]
  View1<const S> A_log;    ///< [H], A = -exp(A_log)
  View1<const S> dt_bias;  ///< [H]
  View1<const S> ssm_D;    ///< [H]
  View1<const S> dt_mask;  ///< [H] or empty
  View1<const token_t> segment;  ///< [T] or empty
};
/// Kept from forward to backward.
template <class S>
struct SsdSaved {
  View2<S> dt;         ///< [T, H] Delta
  View2<S> dA_cumsum;  ///< [T, H] inclusive sums of Delta A inside each chunk
  View2<S> states;     ///< [B*K*H, P*N] state at the beginning of each chunk (after state passing)
};
template <class S>
struct SsdGradients {
  View2<S> dx, dssm_B, dssm_C, ddt_raw;  ///< shapes of the inputs; overwritten
  View1<S> dA_log, ddt_bias, dssm_D;     ///< [H]; accumulated
  View1<S> ddt_mask;                     ///< [H] or empty; accumulated
};

/// [out] y [T, H*P] and saved (allocated by the caller).
template <class S>
void ssd_forward(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<S>& in, const SsdSaved<S>& saved,
                 InOut2<S> y);
/// [in] dy [T, H*P]. workspace: ssd_workspace_size(shape) elements.
template <class S>
void ssd_backward(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<S>& in, const SsdSaved<S>& saved, In2<S> dy,
                  const SsdGradients<S>& gradients, InOut1<S> workspace);
index_t ssd_workspace_size(const SsdShape& shape);
/// One new position of each of B sequences: in.* have B rows, no segment. [in, out] state [B*H, P*N]; [out] y [B, H*P].
template <class S>
void ssd_step(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<S>& in, InOut2<S> state, InOut2<S> y);

}  // namespace elastic::kernels
