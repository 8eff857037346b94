// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 mixer (Dao and Gu 2024, arXiv 2405.21060), elastic in heads H (equally many in every
// group) and in head channels P.
//
//   z, x, B, C, dt = in_proj u
//   x, B, C       <- silu(conv1d(.))
//   y              = SSD(x, B, C, dt)
//   out            = W_out groupnorm(y silu(z))
//
// Soft masks act on z, on dt (m_h), and on x: on the input, weight and bias of its
// convolution. B and C are never masked.
#pragma once
#include "kernels/convolution/causal_conv1d.hpp"
#include "kernels/rows/gated_rmsnorm.hpp"
#include "kernels/scan/ssd.hpp"
#include "layers/layer.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class T>
class MambaMixer final : public Layer<T> {
 public:
  using typename Layer<T>::Saved;
  MambaMixer(const ModelShape& shape, index_t index, ParameterStore<T>& store);

  std::unique_ptr<Saved> make_saved() const override;
  void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               View2<Accumulate<T>> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                View2<const T> u, const Saved& saved, View2<Accumulate<T>> du) const override;
  View2<const T> importance_activations(const Saved& saved, UnitActivations which) const override;
  std::unique_ptr<GenerationLayer<T>> for_generation() const override;

 private:
  class Generation;  // mamba_mixer_generation.cpp
  /// A projected signal before and after its convolution.
  struct Signal {
    View2<T> projected, convolved;
    View2<T> past;  // [B*(W-1), channels] inputs before each span, where rows are spans
  };
  /// Per-channel tensors of the active heads:
  /// prefixes, or packed copies where head channels are cut.
  template <class U>
  struct PerChannel {
    View2<U> conv_weight;      // [E, W]
    View1<U> conv_bias, norm;  // [E]
  };
  using ChannelTensors = PerChannel<T>;
  using ChannelGradients = PerChannel<Accumulate<T>>;
  struct MambaSaved : Saved {
    View2<T> z;              // [T, E]
    Signal x, ssm_B, ssm_C;  // [T, E], [T, G*N] twice
    View2<T> dt_raw;         // [T, H]
    kernels::SsdSaved<T> scan;
    View2<Accumulate<T>> incoming;  // [B*H, P*N] states before each span, where rows are spans
    View2<T> scanned;               // [T, E] y of the scan
    View2<T> normed;                // [T, E]
    View2<Accumulate<T>> rstd;      // [T, G]
    ChannelTensors channels;
  };
  struct Convolution {
    index_t weight, bias;  // [channels, W], [channels]
  };

  UnitRows channels_of(const LayerActive<T>& active) const {
    return {active.width, m_head_dim, active.head_channels};
  }
  kernels::SsdShape scan_shape(const LayerContext& context, const LayerActive<T>& active,
                               const TokenBlock& block = {}) const;
  kernels::GatedRmsNormParams norm_params(const LayerActive<T>& active) const;
  kernels::SsdInputs<T> scan_inputs(const LayerContext& context, const LayerActive<T>& active,
                                    const MambaSaved& saved, const TokenBlock& block = {}) const;
  /// The part of `all` that belongs to a block.
  static kernels::SsdSaved<T> scan_saved(const kernels::SsdSaved<T>& all, const TokenBlock& block);
  ChannelTensors channel_tensors(const LayerContext& context, const LayerActive<T>& active) const;
  ChannelGradients channel_gradients(const LayerContext& context,
                                     const LayerActive<T>& active) const;
  void return_channel_gradients(const LayerContext& context, const LayerActive<T>& active,
                                const ChannelGradients& from) const;
  void project(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               MambaSaved& saved) const;
  kernels::ConvolutionPast<T> past_of(const LayerContext& context, const Signal& signal,
                                      const TokenBlock& block = {}) const;
  /// Fills in saved.scan and saved.scanned.
  void scan(const LayerContext& context, const LayerActive<T>& active,
            const MambaSaved& saved) const;
  /// Turns what each chunk contributes into the state at its beginning.
  void pass_states(const LayerContext& context, const LayerActive<T>& active,
                   const MambaSaved& saved) const;
  /// Passes the gradients of states backward, with the workspaces of all blocks,
  /// between ssd_backward_outputs and ssd_backward_states.
  /// [out] by saved.scan.final_state, where rows are spans.
  View2<Accumulate<T>> pass_state_gradients(const LayerContext& context,
                                            const LayerActive<T>& active, const MambaSaved& saved,
                                            const View1<Accumulate<T>>& workspace) const;
  /// Backward pass of output projection and gated norm. [out] dscanned, dz [T, E].
  void backward_output(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                       const MambaSaved& saved, const View2<T>& dscanned, const View2<T>& dz) const;
  /// Backward pass of the scan. [in] dscanned [T, E]; [out] dx [T, E], dB, dC [T, G*N], ddt [T, H].
  void backward_scan(const LayerContext& context, const LayerActive<T>& active,
                     const View2<T>& dscanned, const MambaSaved& saved,
                     const kernels::SsdGradients<T>& gradients) const;
  /// Input of a convolution's backward pass, and its result [T, channels].
  struct ConvolutionBackward {
    const Signal& signal;
    View2<const T> weight;
    View1<const T> bias;
    SoftMask<T> mask;
    View2<const T> dsignal;
    // [B*(W-1), channels] gradients after each span, where rows are spans
    View2<Accumulate<T>> future = {};
    View2<T> dprojected = {};
  };
  /// Takes memory for the result, and fetches what lies after the spans.
  void prepare(const LayerContext& context, ConvolutionBackward& convolution) const;
  void backward_convolution(const LayerContext& context, const ConvolutionBackward& convolution,
                            const TokenBlock& block, const View2<Accumulate<T>>& dweight,
                            const View1<Accumulate<T>>& dbias) const;

  const ParameterStore<T>& m_store;
  index_t m_head_dim, m_groups, m_state_dim, m_d_conv, m_chunk_size;  // P, G of this rank, N, W, Q
  index_t m_z, m_x, m_B, m_C, m_dt;  // in_proj parts [E, D] twice, [G*N, D] twice, [H, D]
  Convolution m_conv_x, m_conv_B, m_conv_C;
  index_t m_A_log, m_D, m_dt_bias;  // [H]
  index_t m_norm, m_out;            // [E], [D, E]
};

}  // namespace elastic
