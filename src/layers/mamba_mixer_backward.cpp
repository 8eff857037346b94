// SPDX-License-Identifier: Apache-2.0
// Backward pass of the Mamba-2 mixer.
// Parameter gradients are summed block by block (parallel/token_blocks.hpp).
#include "layers/mamba_mixer.hpp"

namespace elastic {
namespace {
template <class T>
kernels::SsdGradients<T> part_of(const kernels::SsdGradients<T>& all, const TokenBlock& block) {
  auto part = all;
  part.dx = block.of(all.dx);
  part.dssm_B = block.of(all.dssm_B);
  part.dssm_C = block.of(all.dssm_C);
  part.ddt_raw = block.of(all.ddt_raw);
  part.dfinal_state = block.of(all.dfinal_state);
  return part;
}
}  // namespace

template <class T>
void MambaMixer<T>::backward_output(const LayerContext& context, const LayerActive<T>& active,
                                    View2<const T> dy, const MambaSaved& saved,
                                    const View2<T>& dscanned, const View2<T>& dz) const {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const UnitRows channels = channels_of(active);
  const index_t tokens = dy.extent_int(0), inner = channels.size();
  const auto dnormed = arena.matrix<T>(tokens, inner);
  const auto workspace =
      arena.vector<Accumulate<T>>(kernels::gated_rmsnorm_workspace_size(tokens, inner, m_groups));
  const auto& out = m_store[m_out];
  for_each_block(context, [&](const TokenBlock& block) {
    const Arena::Scope block_scope(arena);
    const ChannelGradients gradients = channel_gradients(context, active);
    linear_units_input_backward<T>(context.products(), block.of(dy), block.of(saved.normed),
                                   out.value, out.gradient, channels, block.of(dnormed));
    kernels::gated_rmsnorm_backward<T>(
        context.exec,
        {block.of(saved.scanned), block.of(saved.z), saved.channels.norm, active.inner.value},
        norm_params(active), block.of(saved.rstd), block.of(dnormed),
        {block.of(dscanned), block.of(dz), gradients.norm, active.inner.gradient,
         active.gated_norm.dscale},
        workspace);
    return_channel_gradients(context, active, gradients);
    close_block<T>(context, {out.gradient_vector(), m_store[m_norm].gradient_vector(),
                             active.inner.gradient, active.gated_norm.dscale});
  });
}

template <class T>
void MambaMixer<T>::backward_scan(const LayerContext& context, const LayerActive<T>& active,
                                  const View2<T>& dscanned, const MambaSaved& saved,
                                  const kernels::SsdGradients<T>& gradients) const {
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const auto shape = scan_shape(context, active, {0, context.num_blocks()});
  const auto workspace =
      arena.vector<Accumulate<T>>(context.num_blocks() * kernels::ssd_workspace_size<T>(shape));
  auto all = gradients;
  for_each_block(context, [&](const TokenBlock& block) {
    kernels::ssd_backward_outputs<T>(context.products(), shape,
                                     scan_inputs(context, active, saved, block),
                                     scan_saved(saved.scan, block), block.of(dscanned),
                                     part_of(all, block), block.of(workspace));
    close_block<T>(context, {m_store[m_D].gradient_vector()});
  });
  all.dfinal_state = pass_state_gradients(context, active, saved, workspace);
  for_each_block(context, [&](const TokenBlock& block) {
    kernels::ssd_backward_states<T>(
        context.products(), shape, scan_inputs(context, active, saved, block),
        scan_saved(saved.scan, block), part_of(all, block), block.of(workspace));
    close_block<T>(context, {m_store[m_A_log].gradient_vector(),
                             m_store[m_dt_bias].gradient_vector(), active.heads.gradient});
  });
}

template <class T>
void MambaMixer<T>::prepare(const LayerContext& context, ConvolutionBackward& convolution) const {
  Arena& arena = *context.arena;
  const Signal& signal = convolution.signal;
  const index_t tokens = signal.projected.extent_int(0), channels = signal.projected.extent_int(1);
  convolution.dprojected = arena.matrix<T>(tokens, channels);
  if (!context.spans) return;
  const auto first = arena.matrix<Accumulate<T>>(context.batch * context.spans->halo(), channels);
  kernels::causal_conv1d_first_gradients<T>(
      context.exec,
      {signal.projected, convolution.weight, convolution.bias, convolution.mask.value,
       context.segment, context.seq_length, past_of(context, signal)},
      convolution.dsignal, first);
  convolution.future = context.spans->from_behind(arena, first);
}

template <class T>
void MambaMixer<T>::backward_convolution(const LayerContext& context,
                                         const ConvolutionBackward& convolution,
                                         const TokenBlock& block,
                                         const View2<Accumulate<T>>& dweight,
                                         const View1<Accumulate<T>>& dbias) const {
  const Arena::Scope scope(*context.arena);
  const Signal& signal = convolution.signal;
  const index_t tokens = signal.projected.extent_int(0), channels = signal.projected.extent_int(1);
  const auto workspace = context.arena->vector<Accumulate<T>>(
      kernels::causal_conv1d_workspace_size(tokens, channels, m_d_conv));
  kernels::ConvolutionFuture<T> future;
  if (context.spans)
    future = {block.of(convolution.future), block.of(context.spans->future_segment())};
  kernels::causal_conv1d_backward<T>(
      context.exec,
      {block.of(signal.projected), convolution.weight, convolution.bias, convolution.mask.value,
       block.of(context.segment), context.seq_length, past_of(context, signal, block)},
      block.of(convolution.dsignal), future,
      {block.of(convolution.dprojected), dweight, dbias, convolution.mask.gradient}, workspace);
}

template <class T>
void MambaMixer<T>::backward(const LayerContext& context, const LayerActive<T>& active,
                             View2<const T> dy, View2<const T> u, const Saved& saved_base,
                             View2<Accumulate<T>> du) const {
  const auto& saved = static_cast<const MambaSaved&>(saved_base);
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const UnitRows channels = channels_of(active), groups = UnitRows::units(m_groups, m_state_dim),
                 heads = UnitRows::units(active.width);
  const index_t tokens = u.extent_int(0), inner = channels.size(), state = groups.size();
  const auto head_gradients = [&](index_t parameter) {
    return prefix(m_store[parameter].gradient_vector(), active.width);
  };

  const auto dz = arena.matrix<T>(tokens, inner), dscanned = arena.matrix<T>(tokens, inner),
             dx = arena.matrix<T>(tokens, inner);
  const auto dB = arena.matrix<T>(tokens, state), dC = arena.matrix<T>(tokens, state);
  const auto ddt = arena.matrix<T>(tokens, active.width);
  backward_output(context, active, dy, saved, dscanned, dz);
  backward_scan(context, active, dscanned, saved,
                {.dx = dx,
                 .dssm_B = dB,
                 .dssm_C = dC,
                 .ddt_raw = ddt,
                 .dA_log = head_gradients(m_A_log),
                 .ddt_bias = head_gradients(m_dt_bias),
                 .dssm_D = head_gradients(m_D),
                 .ddt_mask = active.heads.gradient});

  const auto convolution_of = [&](const Signal& signal, const Convolution& conv,
                                  const View2<T>& dsignal) {
    return ConvolutionBackward{
        signal, m_store[conv.weight].value, m_store[conv.bias].value_vector(), {}, dsignal};
  };
  ConvolutionBackward x{saved.x, saved.channels.conv_weight, saved.channels.conv_bias, active.inner,
                        dx},
      B = convolution_of(saved.ssm_B, m_conv_B, dB), C = convolution_of(saved.ssm_C, m_conv_C, dC);
  prepare(context, x);
  prepare(context, B);
  prepare(context, C);
  const auto gradient = [&](index_t parameter) { return m_store[parameter].gradient_vector(); };
  for_each_block(context, [&](const TokenBlock& block) {
    const Arena::Scope block_scope(arena);
    const ChannelGradients gradients = channel_gradients(context, active);
    const auto convolution_backward = [&](const ConvolutionBackward& input,
                                          const Convolution& conv) {
      backward_convolution(context, input, block, m_store[conv.weight].gradient,
                           gradient(conv.bias));
    };
    backward_convolution(context, x, block, gradients.conv_weight, gradients.conv_bias);
    convolution_backward(B, m_conv_B);
    convolution_backward(C, m_conv_C);
    return_channel_gradients(context, active, gradients);
    const auto projection_backward = [&](const View2<T>& dout, index_t parameter, UnitRows units) {
      linear_weight_gradient<T>(context.products(), block.of(dout), block.of(u),
                                m_store[parameter].gradient, units);
    };
    projection_backward(dz, m_z, channels);
    projection_backward(x.dprojected, m_x, channels);
    projection_backward(B.dprojected, m_B, groups);
    projection_backward(C.dprojected, m_C, groups);
    projection_backward(ddt, m_dt, heads);
    for (const auto& conv : {m_conv_x, m_conv_B, m_conv_C})
      close_block<T>(context, {gradient(conv.weight), gradient(conv.bias)});
    close_block<T>(context, {active.inner.gradient, gradient(m_z), gradient(m_x), gradient(m_B),
                             gradient(m_C), gradient(m_dt)});
  });

  UnitSum<T> sum(context, m_store.shard(), du);
  sum.add_rows(dz, m_store[m_z].value, channels);
  sum.add_rows(x.dprojected, m_store[m_x].value, channels);
  sum.add_rows(B.dprojected, m_store[m_B].value, groups);
  sum.add_rows(C.dprojected, m_store[m_C].value, groups);
  sum.add_rows(ddt, m_store[m_dt].value, heads);
  sum.finish();
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void MambaMixer<T>::backward_output(const LayerContext&, const LayerActive<T>&,         \
                                               View2<const T>, const MambaSaved&, const View2<T>&, \
                                               const View2<T>&) const;                             \
  template void MambaMixer<T>::backward_scan(const LayerContext&, const LayerActive<T>&,           \
                                             const View2<T>&, const MambaSaved&,                   \
                                             const kernels::SsdGradients<T>&) const;               \
  template void MambaMixer<T>::prepare(const LayerContext&, ConvolutionBackward&) const;           \
  template void MambaMixer<T>::backward_convolution(                                               \
      const LayerContext&, const ConvolutionBackward&, const TokenBlock&,                          \
      const View2<Accumulate<T>>&, const View1<Accumulate<T>>&) const;                             \
  template void MambaMixer<T>::backward(const LayerContext&, const LayerActive<T>&,                \
                                        View2<const T>, View2<const T>, const Saved&,              \
                                        View2<Accumulate<T>>) const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
