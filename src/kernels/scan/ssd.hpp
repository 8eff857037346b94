// SPDX-License-Identifier: Apache-2.0
// The whole state-space scan of the Mamba-2 mixer: the four chunked steps in order, forward
// and backward, and one step of the plain recurrence for generation.
// Extents and equations: kernels/scan/ssd_shape.hpp.
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// Inputs of the scan. dt_raw is the projection before softplus:
/// Delta = softplus(m_h dt_raw + dt_bias).
template <class T>
struct SsdInputs {
  View2<const T> x;              ///< [T, H*P]
  View2<const T> ssm_B;          ///< [T, G*N]
  View2<const T> ssm_C;          ///< [T, G*N]
  View2<const T> dt_raw;         ///< [T, H]
  View1<const T> A_log;          ///< [H], A = -exp(A_log)
  View1<const T> dt_bias;        ///< [H]
  View1<const T> ssm_D;          ///< [H]
  View1<const T> dt_mask;        ///< [H] or empty
  View1<const token_t> segment;  ///< [T] or empty
  SsdIncoming<T> incoming = {};  ///< where the rows are spans of longer sequences
};
/// What is kept from forward to backward.
template <class T>
struct SsdSaved {
  View2<T> dt;         ///< [T, H] Delta
  View2<T> dA_cumsum;  ///< [T, H] inclusive sums of Delta A inside each chunk
  View2<T> states;     ///< [B*K*H, P*N] state at the beginning of each chunk (after state passing)
  View2<T> final_state = {};  ///< [B*H, P*N] state after the last token, or empty: not wanted
};
/// Gradients by the inputs of the scan, and by the states that spans pass on.
template <class T>
struct SsdGradients {
  View2<T> dx, dssm_B, dssm_C, ddt_raw;  ///< shapes of the inputs; overwritten
  View1<T> dA_log, ddt_bias, dssm_D;     ///< [H]; accumulated
  View1<T> ddt_mask;                     ///< [H] or empty; accumulated
  View2<const T> dfinal_state = {};      ///< [B*H, P*N] input: by saved.final_state, or empty
  View2<T> dincoming_state = {};         ///< [B*H, P*N] by incoming.state, or empty; overwritten
};

/// [out] y [T, H*P], and `saved`, which the caller allocates
template <class T>
void ssd_forward(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                 const SsdSaved<T>& saved, InOut2<T> y);
/// [in] dy [T, H*P]; workspace of ssd_workspace_size(shape) elements
template <class T>
void ssd_backward(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                  const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                  InOut1<T> workspace);
index_t ssd_workspace_size(const SsdShape& shape);

/// The three parts of ssd_forward, for ranks that hold spans of the same sequences and pass states
/// on between them. incoming.state must be there before `passing`, which gives saved.final_state.
/// To combine spans otherwise, ssd_forward_total tells after `states` what this one contributes:
///
///   final_state = decay incoming.state + total,   total [B*H, P*N], decay [B*H]
template <class T>
void ssd_forward_states(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved);
template <class T>
void ssd_forward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved);
template <class T>
void ssd_forward_outputs(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, InOut2<T> y);
template <class T>
void ssd_forward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                       const SsdSaved<T>& saved, InOut2<T> total, InOut1<T> decay);
/// The three parts of ssd_backward; they share one workspace.
/// dfinal_state must be there before `passing`, which gives dincoming_state. ssd_backward_total
/// tells after `outputs` what a span contributes:
///
///   dincoming_state = decay dfinal_state + total
template <class T>
void ssd_backward_outputs(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                          InOut1<T> workspace);
template <class T>
void ssd_backward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                          InOut1<T> workspace);
template <class T>
void ssd_backward_states(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                         InOut1<T> workspace);
template <class T>
void ssd_backward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved, InOut1<T> workspace, InOut2<T> total,
                        InOut1<T> decay);

/// One new position of each of B sequences: the inputs have B rows and no segment.
/// [in, out] state [B*H, P*N]
/// [out] y [B, H*P]
template <class T>
void ssd_step(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
              InOut2<T> state, InOut2<T> y);

}  // namespace elastic::kernels
