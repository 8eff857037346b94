// SPDX-License-Identifier: Apache-2.0
// Depthwise causal convolution over the sequence, then SiLU (conv1d of Mamba-2).
// Documents of a packed row do not see each other.
//
//   v_t   = m b + sum_{j=0}^{W-1} (m w_j) (m u_{t-W+1+j})    per channel; m = 1 without a mask
//   out_t = silu(v_t)
//
// Terms whose position lies before the row or in another segment are zero.
// Masks are as in Megatron-LM, megatron/elastification: weight, bias and input are all
// masked, hence m^2 on the signal.
//
// The rows may be spans of longer sequences.
// Forward and backward then need the inputs just before the span (ConvolutionPast). Backward
// also needs the gradients dv just after it (ConvolutionFuture), which the owner of the next span
// computes by causal_conv1d_first_gradients. out, du and dv have the bits of the whole sequence;
// parameter gradients are those of the span's rows.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// The n <= W-1 positions before each span, oldest first; empty: sequences begin here.
template <class T>
struct ConvolutionPast {
  View2<const T> u = {};              ///< [B*n, channels]
  View1<const token_t> segment = {};  ///< [B*n], or empty where the rows' segment is
};
/// The n <= W-1 positions after each span, in order; empty: sequences end here.
template <class T>
struct ConvolutionFuture {
  View2<const Accumulate<T>> dv = {};  ///< [B*n, channels] gradients by v
  View1<const token_t> segment = {};   ///< [B*n], or empty where the rows' segment is
};

template <class T>
struct ConvolutionInputs {
  View2<const T> u;                      ///< [T, channels]
  View2<const T> weight;                 ///< [channels, W]
  View1<const T> bias;                   ///< [channels]
  View1<const Accumulate<T>> mask = {};  ///< [channels] or empty
  View1<const token_t> segment = {};     ///< [T] or empty
  index_t seq_length = 0;                ///< L; T = B*L rows
  ConvolutionPast<T> past = {};
};
template <class T>
struct ConvolutionGradients {
  View2<T> du;                      ///< [T, channels]; overwritten
  View2<Accumulate<T>> dweight;     ///< [channels, W]; accumulated
  View1<Accumulate<T>> dbias;       ///< [channels]; accumulated
  View1<Accumulate<T>> dmask = {};  ///< [channels] or empty; accumulated
};

/// [out] out [T, channels]
template <class T>
void causal_conv1d_forward(const ExecutionSpace& exec, const ConvolutionInputs<T>& in,
                           InOut2<T> out);
/// Recomputes v.
/// [in] dout [T, channels]; workspace of causal_conv1d_workspace_size(T, channels, W) elements
template <class T>
void causal_conv1d_backward(const ExecutionSpace& exec, const ConvolutionInputs<T>& in, In2<T> dout,
                            const ConvolutionFuture<T>& future,
                            const ConvolutionGradients<T>& gradients,
                            InOut1<Accumulate<T>> workspace);
index_t causal_conv1d_workspace_size(index_t tokens, index_t channels, index_t width);
/// Gradients that the owner of the span before needs as its future.
/// [in] as backward
/// [out] dv [B*n, channels], the gradients by v of the first n <= L rows of each sequence
template <class T>
void causal_conv1d_first_gradients(const ExecutionSpace& exec, const ConvolutionInputs<T>& in,
                                   In2<T> dout, InOut2<Accumulate<T>> dv);
/// One new position for each of B sequences (generation; no masks).
/// [in] u [B, channels]
/// [in, out] state [B, channels * (W-1)], the last W-1 inputs of each channel,
///           oldest first; zero at the start
/// [out] out [B, channels]
template <class T>
void causal_conv1d_step(const ExecutionSpace& exec, In2<T> u, In2<T> weight, In1<T> bias,
                        InOut2<T> state, InOut2<T> out);

}  // namespace elastic::kernels
