// SPDX-License-Identifier: Apache-2.0
// Backward pass of the Mamba-2 mixer.
#include "kernels/causal_conv1d.hpp"
#include "layers/mamba_mixer.hpp"

namespace elastic {

template <class S>
void MambaMixer<S>::backward_scan(const LayerContext& context, const LayerActive<S>& active,
                                  View2<const S> dscanned, const MambaSaved& saved,
                                  const kernels::SsdGradients<S>& gradients) const {
  const Arena::Scope scope(*context.arena);
  const auto shape = scan_shape(context, active);
  const auto workspace = context.arena->vector<S>(kernels::ssd_workspace_size(shape));
  kernels::ssd_backward<S>(context.exec, shape, scan_inputs(context, active, saved), saved.scan,
                           dscanned, gradients, workspace);
}

template <class S>
View2<S> MambaMixer<S>::backward_convolution(const LayerContext& context, const Signal& signal,
                                             View2<const S> weight, View1<const S> bias,
                                             const SoftMask<S>& mask, View2<const S> dsignal,
                                             View2<S> dweight, View1<S> dbias) const {
  const index_t tokens = signal.projected.extent_int(0), channels = signal.projected.extent_int(1);
  const auto dprojected = context.arena->matrix<S>(tokens, channels);
  const Arena::Scope scope(*context.arena);
  const auto workspace =
      context.arena->vector<S>(kernels::causal_conv1d_workspace_size(tokens, channels, m_d_conv));
  kernels::causal_conv1d_backward<S>(
      context.exec, dsignal, signal.projected, weight, bias, mask.value, context.segment,
      {.seq_length = context.seq_length}, dprojected, dweight, dbias, mask.gradient, workspace);
  return dprojected;
}

template <class S>
void MambaMixer<S>::backward(const LayerContext& context, const LayerActive<S>& active,
                             View2<const S> dy, View2<const S> u, const Saved& saved_base,
                             View2<S> du) const {
  const auto& saved = static_cast<const MambaSaved&>(saved_base);
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const Blocks channels = channels_of(active);
  const index_t tokens = u.extent_int(0), inner = channels.size(), state = m_groups * m_state_dim;
  const auto heads = [&](index_t parameter) {
    return prefix(m_store[parameter].gradient_vector(), active.width);
  };

  const auto dnormed = arena.matrix<S>(tokens, inner), dz = arena.matrix<S>(tokens, inner);
  const auto dscanned = arena.matrix<S>(tokens, inner), dx = arena.matrix<S>(tokens, inner);
  const auto dB = arena.matrix<S>(tokens, state), dC = arena.matrix<S>(tokens, state);
  const auto ddt = arena.matrix<S>(tokens, active.width);
  const auto norm_workspace =
      arena.vector<S>(kernels::gated_rmsnorm_workspace_size(tokens, inner, m_groups));
  const ChannelTensors gradients = channel_gradients(context, active);

  linear_blocked_input_backward<S>(context.exec, dy, saved.normed, m_store[m_out].value,
                                   m_store[m_out].gradient, channels, dnormed);
  kernels::gated_rmsnorm_backward<S>(
      context.exec, dnormed, saved.scanned, saved.z, saved.channels.norm, active.inner.value,
      saved.rstd, norm_params(active), dscanned, dz, gradients.norm, active.inner.gradient,
      active.gated_norm.dscale, norm_workspace);
  backward_scan(context, active, dscanned, saved,
                {.dx = dx,
                 .dssm_B = dB,
                 .dssm_C = dC,
                 .ddt_raw = ddt,
                 .dA_log = heads(m_A_log),
                 .ddt_bias = heads(m_dt_bias),
                 .dssm_D = heads(m_D),
                 .ddt_mask = active.heads.gradient});

  const auto dx_projected =
      backward_convolution(context, saved.x, saved.channels.conv_weight, saved.channels.conv_bias,
                           active.inner, dx, gradients.conv_weight, gradients.conv_bias);
  const auto convolution_backward = [&](const Signal& signal, const Convolution& conv,
                                        const View2<S>& dsignal) {
    const auto &weight = m_store[conv.weight], &bias = m_store[conv.bias];
    return backward_convolution(context, signal, weight.value, bias.value_vector(), {}, dsignal,
                                weight.gradient, bias.gradient_vector());
  };
  const auto dB_projected = convolution_backward(saved.ssm_B, m_conv_B, dB);
  const auto dC_projected = convolution_backward(saved.ssm_C, m_conv_C, dC);
  return_channel_gradients(context, active, gradients);

  UnitSum<S> sum(context, m_store.shard(), du);
  const auto projection_backward = [&](const View2<S>& dout, index_t parameter, Blocks units) {
    linear_weight_gradient<S>(context.exec, dout, u, m_store[parameter].gradient, units);
    sum.add_rows(dout, m_store[parameter].value, units);
  };
  projection_backward(dz, m_z, channels);
  projection_backward(dx_projected, m_x, channels);
  projection_backward(dB_projected, m_B, Blocks::units(m_groups, m_state_dim));
  projection_backward(dC_projected, m_C, Blocks::units(m_groups, m_state_dim));
  projection_backward(ddt, m_dt, Blocks::units(active.width));
  sum.finish();
}

#define ELASTIC_INSTANTIATE(S)                                                                  \
  template void MambaMixer<S>::backward_scan(const LayerContext&, const LayerActive<S>&,        \
                                             View2<const S>, const MambaSaved&,                 \
                                             const kernels::SsdGradients<S>&) const;            \
  template View2<S> MambaMixer<S>::backward_convolution(                                        \
      const LayerContext&, const Signal&, View2<const S>, View1<const S>, const SoftMask<S>&,   \
      View2<const S>, View2<S>, View1<S>) const;                                                \
  template void MambaMixer<S>::backward(const LayerContext&, const LayerActive<S>&,             \
                                        View2<const S>, View2<const S>, const Saved&, View2<S>) \
      const;
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
