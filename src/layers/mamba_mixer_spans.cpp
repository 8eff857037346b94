// SPDX-License-Identifier: Apache-2.0
// States of the Mamba-2 mixer along the chunks of a sequence, and from span to span where rows are
// spans: all spans at once, or one after the other where the bits must not depend on ranks.
#include "layers/mamba_mixer.hpp"

namespace elastic {
using kernels::Direction;

template <class T>
void MambaMixer<T>::pass_states(const LayerContext& context, const LayerActive<T>& active,
                                const MambaSaved& saved) const {
  const auto pass = [&](const TokenBlock& block) {
    kernels::ssd_forward_passing<T>(context.exec, scan_shape(context, active, block),
                                    scan_inputs(context, active, saved, block),
                                    scan_saved(saved.scan, block));
  };
  if (!context.spans) return pass({});
  if (context.spans->layout().in_turn)
    return context.spans->carry_in_turn(Direction::forward, saved.incoming, saved.scan.final_state,
                                        pass);
  {
    const Arena::Scope scope(*context.arena);
    const index_t states = saved.incoming.extent_int(0);
    const auto total = context.arena->matrix<Accumulate<T>>(states, saved.incoming.extent_int(1));
    const auto decay = context.arena->vector<Accumulate<T>>(states);
    kernels::ssd_forward_total<T>(context.exec, scan_shape(context, active),
                                  scan_inputs(context, active, saved), saved.scan, total, decay);
    context.spans->carry(*context.arena, Direction::forward, total, decay, saved.incoming);
  }
  pass({});
}

template <class T>
View2<Accumulate<T>> MambaMixer<T>::pass_state_gradients(
    const LayerContext& context, const LayerActive<T>& active, const MambaSaved& saved,
    const View1<Accumulate<T>>& workspace) const {
  Arena& arena = *context.arena;
  View2<Accumulate<T>> dfinal, dincoming;
  // Workspaces are those of the blocks, which are spans where these are passed one by one.
  const auto pass = [&](const TokenBlock& block) {
    kernels::SsdGradients<T> gradients;
    gradients.dfinal_state = block.of(dfinal);
    gradients.dincoming_state = block.of(dincoming);
    kernels::ssd_backward_passing<T>(context.exec, scan_shape(context, active, block),
                                     scan_inputs(context, active, saved, block),
                                     scan_saved(saved.scan, block), gradients, block.of(workspace));
  };
  if (!context.spans) {
    pass({});
    return dfinal;
  }
  const index_t states = saved.incoming.extent_int(0), size = saved.incoming.extent_int(1);
  dfinal = arena.matrix<Accumulate<T>>(states, size);
  const Arena::Scope scope(arena);
  dincoming = arena.matrix<Accumulate<T>>(states, size);
  if (context.spans->layout().in_turn) {
    context.spans->carry_in_turn(Direction::backward, dfinal, dincoming, pass);
    return dfinal;
  }
  const auto decay = arena.vector<Accumulate<T>>(states);
  kernels::ssd_backward_total<T>(context.exec, scan_shape(context, active),
                                 scan_inputs(context, active, saved), saved.scan, workspace,
                                 dincoming, decay);
  context.spans->carry(arena, Direction::backward, dincoming, decay, dfinal);
  dincoming = {};
  pass({});
  return dfinal;
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void MambaMixer<T>::pass_states(const LayerContext&, const LayerActive<T>&,            \
                                           const MambaSaved&) const;                              \
  template View2<Accumulate<T>> MambaMixer<T>::pass_state_gradients(                              \
      const LayerContext&, const LayerActive<T>&, const MambaSaved&, const View1<Accumulate<T>>&) \
      const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
