// SPDX-License-Identifier: Apache-2.0
// Forward pass of the Mamba-2 mixer.
#include "layers/mamba_mixer.hpp"

namespace elastic {
namespace {
/// The last `count` rows of each span: [B*count, channels].
template <class T>
View2<T> last_rows(const LayerContext& context, const View2<T>& all, index_t count) {
  const index_t batch = context.batch, columns = all.extent_int(1),
                length = context.seq_length * columns;
  const auto result = context.arena->matrix<T>(batch * count, columns);
  const View2<T> spans(all.data(), batch, length);
  Kokkos::deep_copy(context.exec, View2<T>(result.data(), batch, count * columns),
                    Kokkos::subview(spans, Kokkos::ALL, Range(length - count * columns, length)));
  return result;
}
}  // namespace

template <class T>
void MambaMixer<T>::project(const LayerContext& context, const LayerActive<T>& active,
                            View2<const T> u, MambaSaved& saved) const {
  Arena& arena = *context.arena;
  const index_t tokens = u.extent_int(0), state = m_groups * m_state_dim;
  const UnitRows channels = channels_of(active);
  const auto project_to = [&](View2<T>& out, index_t parameter, UnitRows rows) {
    out = arena.matrix<T>(tokens, rows.size());
    linear_forward<T>(context.products(), u, m_store[parameter].value, rows, out);
  };
  project_to(saved.z, m_z, channels);
  project_to(saved.x.projected, m_x, channels);
  project_to(saved.ssm_B.projected, m_B, UnitRows::prefix(state));
  project_to(saved.ssm_C.projected, m_C, UnitRows::prefix(state));
  project_to(saved.dt_raw, m_dt, UnitRows::prefix(active.width));
  saved.channels = channel_tensors(context, active);
}

template <class T>
void MambaMixer<T>::scan(const LayerContext& context, const LayerActive<T>& active,
                         const MambaSaved& saved) const {
  const Arena::Scope scope(*context.arena);
  const auto shape = scan_shape(context, active);
  const auto workspace =
      context.arena->vector<Accumulate<T>>(kernels::ssd_forward_workspace_size<T>(shape));
  const auto in = scan_inputs(context, active, saved);
  kernels::ssd_forward_states<T>(context.products(), shape, in, saved.scan, workspace);
  pass_states(context, active, saved);
  kernels::ssd_forward_outputs<T>(context.products(), shape, in, saved.scan, saved.scanned,
                                  workspace);
}

template <class T>
void MambaMixer<T>::forward(const LayerContext& context, const LayerActive<T>& active,
                            View2<const T> u, View2<Accumulate<T>> y, Saved& saved_base) const {
  auto& saved = static_cast<MambaSaved&>(saved_base);
  Arena& arena = *context.arena;
  project(context, active, u, saved);

  const auto convolve = [&](Signal& signal, View2<const T> weight, View1<const T> bias,
                            View1<const Accumulate<T>> mask) {
    signal.convolved =
        arena.matrix<T>(signal.projected.extent_int(0), signal.projected.extent_int(1));
    if (context.spans)
      signal.past = context.spans->from_before(
          arena, last_rows(context, signal.projected, context.spans->halo()));
    kernels::causal_conv1d_forward<T>(context.exec,
                                      {signal.projected, weight, bias, mask, context.segment,
                                       context.seq_length, past_of(context, signal)},
                                      signal.convolved);
  };
  convolve(saved.x, saved.channels.conv_weight, saved.channels.conv_bias, active.inner.value);
  convolve(saved.ssm_B, m_store[m_conv_B.weight].value, m_store[m_conv_B.bias].value_vector(), {});
  convolve(saved.ssm_C, m_store[m_conv_C.weight].value, m_store[m_conv_C.bias].value_vector(), {});

  const auto shape = scan_shape(context, active);
  const index_t tokens = shape.num_tokens(), channels = channels_of(active).size(),
                state_size = active.head_channels * m_state_dim;
  saved.scan = {arena.matrix<Accumulate<T>>(tokens, active.width),
                arena.matrix<Accumulate<T>>(tokens, 2 * active.width),
                arena.matrix<Accumulate<T>>(shape.num_states(), state_size)};
  saved.scanned = arena.matrix<T>(tokens, channels);
  if (context.spans) {
    saved.incoming = arena.matrix<Accumulate<T>>(shape.batch * active.width, state_size);
    saved.scan.final_state = arena.matrix<Accumulate<T>>(shape.batch * active.width, state_size);
  }
  scan(context, active, saved);

  saved.normed = arena.matrix<T>(tokens, channels);
  saved.rstd = arena.matrix<Accumulate<T>>(tokens, m_groups);
  kernels::gated_rmsnorm_forward<T>(
      context.exec, {saved.scanned, saved.z, saved.channels.norm, active.inner.value},
      norm_params(active), saved.normed, saved.rstd);
  linear_of_units<T>(context, m_store.shard(), saved.normed, m_store[m_out].value,
                     channels_of(active), y);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void MambaMixer<T>::project(const LayerContext&, const LayerActive<T>&, View2<const T>, \
                                       MambaSaved&) const;                                         \
  template void MambaMixer<T>::scan(const LayerContext&, const LayerActive<T>&, const MambaSaved&) \
      const;                                                                                       \
  template void MambaMixer<T>::forward(const LayerContext&, const LayerActive<T>&, View2<const T>, \
                                       View2<Accumulate<T>>, Saved&) const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
