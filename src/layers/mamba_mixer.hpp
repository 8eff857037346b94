// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 mixer (Dao and Gu 2024), elastic in heads H (the same number in every group) and in
// head channels P.
//
//   z, x, B, C, dt = in_proj u;   x, B, C <- silu(conv1d(.));   y = SSD(x, B, C, dt);   out = W_out
//   groupnorm(y silu(z))
//
// Soft masks: m (.) z, x masked before, and in weight and bias of, its convolution, m_h dt; B and C
// are never masked.
#pragma once
#include "kernels/causal_conv1d.hpp"
#include "kernels/gated_rmsnorm.hpp"
#include "kernels/ssd.hpp"
#include "layers/layer.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class S>
class MambaMixer final : public Layer<S> {
 public:
  using typename Layer<S>::Saved;
  using typename Layer<S>::Cache;
  MambaMixer(const ModelShape& shape, index_t index, ParameterStore<S>& store);

  std::unique_ptr<Saved> make_saved() const override;
  std::unique_ptr<Cache> make_cache(const LayerActive<S>& active, index_t batch, index_t max_length,
                                    index_t history) const override;
  std::unique_ptr<Cache> narrow_cache(const LayerContext& context, const LayerActive<S>& from,
                                      const LayerActive<S>& to, Cache& wider) const override;
  void forward(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
               View2<S> y, Saved& saved) const override;
  void backward(const LayerContext& context, const LayerActive<S>& active, View2<const S> dy,
                View2<const S> u, const Saved& saved, View2<S> du) const override;
  void extend(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
              index_t position, Cache& cache, View2<S> y) const override;
  View2<const S> importance_activations(const Saved& saved) const override;

 private:
  /// A projected signal before and after its convolution.
  struct Signal {
    View2<S> projected, convolved;
    View2<S> past;  // [B*(W-1), channels] inputs before each span, where rows are spans
  };
  /// Per-channel tensors of the active heads: prefixes, or packed copies where head channels are
  /// cut.
  struct ChannelTensors {
    View2<S> conv_weight;      // [E, W]
    View1<S> conv_bias, norm;  // [E]
  };
  struct MambaSaved : Saved {
    View2<S> z;              // [T, E]
    Signal x, ssm_B, ssm_C;  // [T, E], [T, G*N] twice
    View2<S> dt_raw;         // [T, H]
    kernels::SsdSaved<S> scan;
    View2<S> incoming;  // [B*H, P*N] states before each span, where rows are spans
    View2<S> scanned;   // [T, E] y of the scan
    View2<S> normed;    // [T, E]
    View2<S> rstd;      // [T, G]
    ChannelTensors channels;
  };
  /// What is left of the positions so far; convolutions keep their last W - 1 inputs.
  struct State {
    View2<S> conv_x, conv_B, conv_C;  // [B, channels * (W-1)]
    View2<S> ssm;                     // [B*H, P*N]
  };
  struct MambaCache : Cache {
    std::vector<State> states;  // history + 1: the state before position p at p % (history + 1)
    State& before(index_t position) {
      return states[static_cast<std::size_t>(position) % states.size()];
    }
  };
  struct Convolution {
    index_t weight, bias;  // [channels, W], [channels]
  };

  Blocks channels_of(const LayerActive<S>& active) const {
    return {active.width, m_head_dim, active.head_channels};
  }
  kernels::SsdShape scan_shape(const LayerContext& context, const LayerActive<S>& active,
                               const Block& block = {}) const;
  kernels::GatedRmsNormParams norm_params(const LayerActive<S>& active) const;
  kernels::SsdInputs<S> scan_inputs(const LayerContext& context, const LayerActive<S>& active,
                                    const MambaSaved& saved, const Block& block = {}) const;
  /// The part of a block.
  static kernels::SsdSaved<S> scan_saved(const kernels::SsdSaved<S>& all, const Block& block);
  ChannelTensors channel_tensors(const LayerContext& context, const LayerActive<S>& active) const;
  ChannelTensors channel_gradients(const LayerContext& context, const LayerActive<S>& active) const;
  void return_channel_gradients(const LayerContext& context, const LayerActive<S>& active,
                                const ChannelTensors& from) const;
  void project(const LayerContext& context, const LayerActive<S>& active, View2<const S> u,
               MambaSaved& saved) const;
  void clear(const ExecutionSpace& exec, const State& state) const;
  void copy(const ExecutionSpace& exec, const State& from, const State& to) const;
  /// Position t of a block of new ones: saved.*.projected and `state` to saved.*.convolved,
  /// saved.scanned and the state after it.
  void advance(const LayerContext& context, const LayerActive<S>& active, index_t t,
               const MambaSaved& saved, const State& state) const;
  kernels::ConvolutionPast<S> past_of(const LayerContext& context, const Signal& signal,
                                      const Block& block = {}) const;
  /// Turns what each chunk contributes into the state at its beginning.
  void pass_states(const LayerContext& context, const LayerActive<S>& active,
                   const MambaSaved& saved) const;
  /// The same backward, with the workspaces of all blocks, between ssd_backward_outputs and
  /// ssd_backward_states. [out] by saved.scan.final_state, where rows are spans.
  View2<S> pass_state_gradients(const LayerContext& context, const LayerActive<S>& active,
                                const MambaSaved& saved, const View1<S>& workspace) const;
  /// Output projection and gated norm. [out] dscanned, dz [T, E].
  void backward_output(const LayerContext& context, const LayerActive<S>& active, View2<const S> dy,
                       const MambaSaved& saved, const View2<S>& dscanned, const View2<S>& dz) const;
  /// [in] dscanned [T, E]; [out] dx [T, E], dB, dC [T, G*N], ddt [T, H].
  void backward_scan(const LayerContext& context, const LayerActive<S>& active,
                     const View2<S>& dscanned, const MambaSaved& saved,
                     const kernels::SsdGradients<S>& gradients) const;
  /// Input of a convolution's backward pass, and its result [T, channels].
  struct ConvolutionBackward {
    const Signal& signal;
    View2<const S> weight;
    View1<const S> bias;
    SoftMask<S> mask;
    View2<const S> dsignal;
    View2<S> future = {};  // [B*(W-1), channels] gradients after each span, where rows are spans
    View2<S> dprojected = {};
  };
  /// Takes memory for the result, and what lies after the spans.
  void prepare(const LayerContext& context, ConvolutionBackward& convolution) const;
  void backward_convolution(const LayerContext& context, const ConvolutionBackward& convolution,
                            const Block& block, const View2<S>& dweight,
                            const View1<S>& dbias) const;

  const ParameterStore<S>& m_store;
  index_t m_head_dim, m_groups, m_state_dim, m_d_conv, m_chunk_size;  // P, G of this rank, N, W, Q
  index_t m_z, m_x, m_B, m_C, m_dt;  // in_proj parts [E, D] twice, [G*N, D] twice, [H, D]
  Convolution m_conv_x, m_conv_B, m_conv_C;
  index_t m_A_log, m_D, m_dt_bias;  // [H]
  index_t m_norm, m_out;            // [E], [D, E]
};

}  // namespace elastic
