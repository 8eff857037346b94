// SPDX-License-Identifier: Apache-2.0
#include "layers/mamba_mixer.hpp"

#include "kernels/products/head_channels.hpp"

namespace elastic {
namespace {
/// A vector of n elements as a matrix of one column.
template <class T>
View2<T> column(const View1<T>& v) {
  return View2<T>(v.data(), v.extent(0), 1);
}
}  // namespace

template <class T>
MambaMixer<T>::MambaMixer(const ModelShape& shape, index_t index, ParameterStore<T>& store)
    : m_store(store),
      m_state_dim(shape.mamba_state_dim),
      m_d_conv(shape.mamba_d_conv),
      m_chunk_size(shape.chunk_size) {
  const LayerShape& layer = shape.layers[static_cast<std::size_t>(index)];
  m_head_dim = layer.head_channels;
  m_groups = local_count(layer.num_groups, store.shard());
  declare_tensors(shape, index, store,
                  {&m_z, &m_x, &m_B, &m_C, &m_dt, &m_conv_x.weight, &m_conv_x.bias,
                   &m_conv_B.weight, &m_conv_B.bias, &m_conv_C.weight, &m_conv_C.bias, &m_A_log,
                   &m_D, &m_dt_bias, &m_norm, &m_out});
}

template <class T>
auto MambaMixer<T>::make_saved() const -> std::unique_ptr<Saved> {
  return std::make_unique<MambaSaved>();
}

template <class T>
kernels::SsdShape MambaMixer<T>::scan_shape(const LayerContext& context,
                                            const LayerActive<T>& active,
                                            const TokenBlock& block) const {
  return {.batch = context.batch / block.count,
          .seq_length = context.seq_length,
          .num_heads = active.width,
          .head_dim = active.head_channels,
          .num_groups = m_groups,
          .state_dim = m_state_dim,
          .chunk_size = m_chunk_size};
}

template <class T>
kernels::GatedRmsNormParams MambaMixer<T>::norm_params(const LayerActive<T>& active) const {
  const auto& p = active.gated_norm.params;
  return {.head_dim = active.head_channels,
          .num_groups = m_groups,
          .epsilon = p.epsilon,
          .mean_width = p.mean_width,
          .scale = p.scale};
}

template <class T>
kernels::SsdInputs<T> MambaMixer<T>::scan_inputs(const LayerContext& context,
                                                 const LayerActive<T>& active,
                                                 const MambaSaved& saved,
                                                 const TokenBlock& block) const {
  const auto heads = [&](index_t parameter) {
    return prefix(m_store[parameter].exact_vector(), active.width);
  };
  kernels::SsdInputs<T> in{.x = block.of(saved.x.convolved),
                           .ssm_B = block.of(saved.ssm_B.convolved),
                           .ssm_C = block.of(saved.ssm_C.convolved),
                           .dt_raw = block.of(saved.dt_raw),
                           .A_log = heads(m_A_log),
                           .dt_bias = heads(m_dt_bias),
                           .ssm_D = heads(m_D),
                           .dt_mask = active.heads.value,
                           .segment = block.of(context.segment)};
  if (context.spans)
    in.incoming = {block.of(saved.incoming), block.of(context.spans->segment_before())};
  return in;
}

template <class T>
kernels::SsdSaved<T> MambaMixer<T>::scan_saved(const kernels::SsdSaved<T>& all,
                                               const TokenBlock& block) {
  return {block.of(all.dt), block.of(all.dA_cumsum), block.of(all.states),
          block.of(all.final_state)};
}

template <class T>
kernels::ConvolutionPast<T> MambaMixer<T>::past_of(const LayerContext& context,
                                                   const Signal& signal,
                                                   const TokenBlock& block) const {
  if (!context.spans) return {};
  return {block.of(signal.past), block.of(context.spans->past_segment())};
}

template <class T>
typename MambaMixer<T>::ChannelTensors MambaMixer<T>::channel_tensors(
    const LayerContext& context, const LayerActive<T>& active) const {
  const auto &weight = m_store[m_conv_x.weight], &bias = m_store[m_conv_x.bias],
             &norm = m_store[m_norm];
  const index_t channels = channels_of(active).size();
  if (active.head_channels == m_head_dim)
    return {prefix(weight.value, channels, m_d_conv), prefix(bias.value_vector(), channels),
            prefix(norm.value_vector(), channels)};
  ChannelTensors packed = {context.arena->matrix<T>(channels, m_d_conv),
                           context.arena->vector<T>(channels), context.arena->vector<T>(channels)};
  const auto pack = [&](const View2<T>& full, const View2<T>& to) {
    kernels::pack_head_channels<T>(context.exec, full, m_head_dim, active.head_channels, to);
  };
  pack(weight.value, packed.conv_weight);
  pack(column(bias.value_vector()), column(packed.conv_bias));
  pack(column(norm.value_vector()), column(packed.norm));
  return packed;
}

template <class T>
typename MambaMixer<T>::ChannelGradients MambaMixer<T>::channel_gradients(
    const LayerContext& context, const LayerActive<T>& active) const {
  const index_t channels = channels_of(active).size();
  if (active.head_channels == m_head_dim)
    return {prefix(m_store[m_conv_x.weight].gradient, channels, m_d_conv),
            prefix(m_store[m_conv_x.bias].gradient_vector(), channels),
            prefix(m_store[m_norm].gradient_vector(), channels)};
  using Sum = Accumulate<T>;
  ChannelGradients packed = {context.arena->matrix<Sum>(channels, m_d_conv),
                             context.arena->vector<Sum>(channels),
                             context.arena->vector<Sum>(channels)};
  Kokkos::deep_copy(context.exec, packed.conv_weight, Sum(0));
  Kokkos::deep_copy(context.exec, packed.conv_bias, Sum(0));
  Kokkos::deep_copy(context.exec, packed.norm, Sum(0));
  return packed;
}

template <class T>
void MambaMixer<T>::return_channel_gradients(const LayerContext& context,
                                             const LayerActive<T>& active,
                                             const ChannelGradients& from) const {
  if (active.head_channels == m_head_dim) return;  // they were prefixes of the gradients themselves
  const auto unpack = [&](const View2<Accumulate<T>>& packed, const View2<Accumulate<T>>& full) {
    kernels::unpack_add_head_channels<T>(context.exec, packed, m_head_dim, active.head_channels,
                                         full);
  };
  unpack(from.conv_weight, m_store[m_conv_x.weight].gradient);
  unpack(column(from.conv_bias), column(m_store[m_conv_x.bias].gradient_vector()));
  unpack(column(from.norm), column(m_store[m_norm].gradient_vector()));
}

template <class T>
View2<const T> MambaMixer<T>::importance_activations(const Saved& saved,
                                                     UnitActivations /*which*/) const {
  return static_cast<const MambaSaved&>(saved).x.projected;
}

template class MambaMixer<bfloat16>;
template class MambaMixer<float>;
template class MambaMixer<double>;

}  // namespace elastic
