// SPDX-License-Identifier: Apache-2.0
// The whole state-space scan of the Mamba-2 mixer: the four chunked steps in order, forward
// and backward, and one step of the plain recurrence for generation. On hosts two of the steps are
// kernels of register tiles, on devices batched products (kernels/scan/ssd_batched.hpp).
// Extents and equations: kernels/scan/ssd_shape.hpp.
#pragma once
#include "kernels/products/gemm.hpp"
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// [out] y [T, H*P], and `saved`, which the caller allocates; workspace of
/// ssd_forward_workspace_size<T>(shape) elements, empty on hosts
template <class T>
void ssd_forward(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                 const SsdSaved<T>& saved, InOut2<T> y, InOut1<Accumulate<T>> workspace);
/// [in] dy [T, H*P]; workspace of ssd_workspace_size<T>(shape) elements
template <class T>
void ssd_backward(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                  const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                  InOut1<Accumulate<T>> workspace);

/// The three parts of ssd_forward, for ranks that hold spans of the same sequences and pass states
/// on between them. incoming.state must be there before `passing`, which gives saved.final_state.
/// To combine spans otherwise, ssd_forward_total tells after `states` what this one contributes:
///
///   final_state = decay incoming.state + total,   total [B*H, P*N], decay [B*H]
template <class T>
void ssd_forward_states(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved, InOut1<Accumulate<T>> workspace);
template <class T>
void ssd_forward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved);
template <class T>
void ssd_forward_outputs(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, InOut2<T> y, InOut1<Accumulate<T>> workspace);
template <class T>
void ssd_forward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                       const SsdSaved<T>& saved, InOut2<Accumulate<T>> total,
                       InOut1<Accumulate<T>> decay);
/// The three parts of ssd_backward; they share one workspace.
/// dfinal_state must be there before `passing`, which gives dincoming_state. ssd_backward_total
/// tells after `outputs` what a span contributes:
///
///   dincoming_state = decay dfinal_state + total
template <class T>
void ssd_backward_outputs(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                          InOut1<Accumulate<T>> workspace);
template <class T>
void ssd_backward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                          InOut1<Accumulate<T>> workspace);
template <class T>
void ssd_backward_states(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                         InOut1<Accumulate<T>> workspace);
template <class T>
void ssd_backward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved, InOut1<Accumulate<T>> workspace,
                        InOut2<Accumulate<T>> total, InOut1<Accumulate<T>> decay);

/// One new position of each of B sequences: the inputs have B rows and no segment.
/// [in] before [B*H, P*N]: the state
/// [out] after [B*H, P*N]: the next one; may be `before`
/// [out] y [B, H*P]
template <class T>
void ssd_step(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
              In2<Accumulate<T>> before, InOut2<Accumulate<T>> after, InOut2<T> y);

}  // namespace elastic::kernels
