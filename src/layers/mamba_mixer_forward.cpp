// SPDX-License-Identifier: Apache-2.0
// Forward pass of the Mamba-2 mixer.
#include "layers/mamba_mixer.hpp"

namespace elastic {
namespace {
/// The last `count` rows of each span: [B*count, channels].
template <class S>
View2<S> last_rows(const LayerContext& context, const View2<S>& all, index_t count) {
  const index_t batch = context.batch, columns = all.extent_int(1),
                length = context.seq_length * columns;
  const auto result = context.arena->matrix<S>(batch * count, columns);
  const View2<S> spans(all.data(), batch, length);
  Kokkos::deep_copy(context.exec, View2<S>(result.data(), batch, count * columns),
                    Kokkos::subview(spans, Kokkos::ALL, Range(length - count * columns, length)));
  return result;
}
}  // namespace

template <class S>
void MambaMixer<S>::project(const LayerContext& context, const LayerActive<S>& active,
                            View2<const S> u, MambaSaved& saved) const {
  Arena& arena = *context.arena;
  const index_t tokens = u.extent_int(0), state = m_groups * m_state_dim;
  const Blocks channels = channels_of(active);
  const auto project_to = [&](View2<S>& out, index_t parameter, Blocks rows) {
    out = arena.matrix<S>(tokens, rows.size());
    linear_forward<S>(context.exec, u, m_store[parameter].value, rows, out);
  };
  project_to(saved.z, m_z, channels);
  project_to(saved.x.projected, m_x, channels);
  project_to(saved.ssm_B.projected, m_B, Blocks::prefix(state));
  project_to(saved.ssm_C.projected, m_C, Blocks::prefix(state));
  project_to(saved.dt_raw, m_dt, Blocks::prefix(active.width));
  saved.channels = channel_tensors(context, active);
}

template <class S>
void MambaMixer<S>::forward(const LayerContext& context, const LayerActive<S>& active,
                            View2<const S> u, View2<S> y, Saved& saved_base) const {
  auto& saved = static_cast<MambaSaved&>(saved_base);
  Arena& arena = *context.arena;
  project(context, active, u, saved);

  const auto convolve = [&](Signal& signal, View2<const S> weight, View1<const S> bias,
                            View1<const S> mask) {
    signal.convolved =
        arena.matrix<S>(signal.projected.extent_int(0), signal.projected.extent_int(1));
    if (context.spans)
      signal.past = context.spans->from_before(
          arena, last_rows(context, signal.projected, context.spans->halo()));
    kernels::causal_conv1d_forward<S>(context.exec, signal.projected, weight, bias, mask,
                                      context.segment, {.seq_length = context.seq_length},
                                      signal.convolved, past_of(context, signal));
  };
  convolve(saved.x, saved.channels.conv_weight, saved.channels.conv_bias, active.inner.value);
  convolve(saved.ssm_B, m_store[m_conv_B.weight].value, m_store[m_conv_B.bias].value_vector(), {});
  convolve(saved.ssm_C, m_store[m_conv_C.weight].value, m_store[m_conv_C.bias].value_vector(), {});

  const auto shape = scan_shape(context, active);
  const index_t tokens = shape.num_tokens(), channels = channels_of(active).size(),
                state_size = active.head_channels * m_state_dim;
  saved.scan = {arena.matrix<S>(tokens, active.width), arena.matrix<S>(tokens, active.width),
                arena.matrix<S>(shape.num_states(), state_size)};
  saved.scanned = arena.matrix<S>(tokens, channels);
  if (context.spans) {
    saved.incoming = arena.matrix<S>(shape.batch * active.width, state_size);
    saved.scan.final_state = arena.matrix<S>(shape.batch * active.width, state_size);
  }
  const auto in = scan_inputs(context, active, saved);
  kernels::ssd_forward_states<S>(context.exec, shape, in, saved.scan);
  pass_states(context, active, saved);
  kernels::ssd_forward_outputs<S>(context.exec, shape, in, saved.scan, saved.scanned);

  saved.normed = arena.matrix<S>(tokens, channels);
  saved.rstd = arena.matrix<S>(tokens, m_groups);
  kernels::gated_rmsnorm_forward<S>(context.exec, saved.scanned, saved.z, saved.channels.norm,
                                    active.inner.value, norm_params(active), saved.normed,
                                    saved.rstd);
  linear_of_units<S>(context, m_store.shard(), saved.normed, m_store[m_out].value,
                     channels_of(active), y);
}

#define ELASTIC_INSTANTIATE(S)                                                                     \
  template void MambaMixer<S>::project(const LayerContext&, const LayerActive<S>&, View2<const S>, \
                                       MambaSaved&) const;                                         \
  template void MambaMixer<S>::forward(const LayerContext&, const LayerActive<S>&, View2<const S>, \
                                       View2<S>, Saved&) const;
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
