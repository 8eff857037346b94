// SPDX-License-Identifier: Apache-2.0
// One team for each sequence and head;
// a thread carries some elements of the state along the chunks.
#include "kernels/scan/ssd_state_passing.hpp"

#include "base/shapes.hpp"
#include "kernels/scan/ssd_chunk.hpp"

namespace elastic::kernels {
namespace {
/// The decay d_k of chunk `row` for one head.
template <class A>
KOKKOS_INLINE_FUNCTION A chunk_decay(const SsdShape& shape, const View1<const token_t>& segment,
                                     const SsdBefore& before, const View2<const A>& dA_cumsum,
                                     index_t row, index_t head) {
  const Chunk chunk(shape, segment, row, before);
  if (!chunk.continues) return A(0);
  if (segment.extent(0) != 0)
    for (index_t t = chunk.first + 1; t < chunk.first + chunk.tokens; ++t)
      if (segment(t) != segment(t - 1)) return A(0);
  return decay_of(dA_cumsum(chunk.first + chunk.tokens - 1, head));
}

constexpr index_t carried_elements = on_host ? 256 : 1;

/// One pass along the chunks, for one team per sequence and head. Views [B*H, *] may be empty.
template <class A, class State>
struct Passing {
  SsdShape shape;
  bool backwards;
  View2<const A> dA_cumsum;
  View1<const token_t> segment;
  SsdBefore before;
  State states;  ///< [B*K*H, P*N]; const: only added up
  View2<const A> carried_in = {};
  View2<A> carried_out = {};
  View1<A> total_decay = {};
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t chunks = (shape.seq_length + shape.chunk_size - 1) / shape.chunk_size,
                  heads = shape.num_heads, size = shape.head_dim * shape.state_dim,
                  row = team.league_rank(), b = row / heads, h = row % heads;
    A* const decay = static_cast<A*>(
        team.team_scratch(level).get_shmem_aligned(chunks * static_cast<index_t>(sizeof(A)), 64));
    for_each_row(team, chunks, [&](const index_t k) {
      decay[k] = chunk_decay<A>(shape, segment, before, dA_cumsum, b * chunks + k, h);
    });
    for_each_row(team, (size + carried_elements - 1) / carried_elements, [&](const index_t block) {
      const index_t first = block * carried_elements,
                    count = math::min(carried_elements, size - first);
      A carried[carried_elements] = {};
      if (carried_in.extent(0) != 0)
        for (index_t e = 0; e < count; ++e) carried[e] = carried_in(row, first + e);
      for (index_t step = 0; step < chunks; ++step) {
        const index_t k = backwards ? chunks - 1 - step : step;
        pass(decay[k], &states((b * chunks + k) * heads + h, first), count, carried);
      }
      if (carried_out.extent(0) != 0)
        for (index_t e = 0; e < count; ++e) carried_out(row, first + e) = carried[e];
    });
    if (total_decay.extent(0) == 0) return;
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      A product = 1;
      for (index_t k = 0; k < chunks; ++k) product *= decay[k];
      total_decay(row) = product;
    });
  }

 private:
  /// What was carried to here is handed out, and carried on with what the chunk adds.
  KOKKOS_INLINE_FUNCTION static void pass(A d, A* value, index_t count, A* carried) {
    ELASTIC_SIMD
    for (index_t e = 0; e < count; ++e) {
      const A added = value[e];
      value[e] = carried[e];
      carried[e] = d * carried[e] + added;
    }
  }
  KOKKOS_INLINE_FUNCTION static void pass(A d, const A* value, index_t count, A* carried) {
    ELASTIC_SIMD
    for (index_t e = 0; e < count; ++e) carried[e] = d * carried[e] + value[e];
  }
};

template <class A, class State>
void launch(const char* label, const ExecutionSpace& exec, Passing<A, State> passing) {
  const auto& shape = passing.shape;
  const index_t bytes = shape.num_chunks() * static_cast<index_t>(sizeof(A));
  passing.level = scratch_level(bytes);
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, static_cast<int>(shape.batch * shape.num_heads),
                                            Kokkos::AUTO);
  policy.set_scratch_size(passing.level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(label, policy, passing);
}

template <class T>
SsdBefore checked(const char* name, const SsdShape& shape, const SsdInputs<T>& in,
                  const SsdSaved<T>& saved, const View2<const Accumulate<T>>& states) {
  require_ssd_shape(name, shape);
  require_shape(name, "dA_cumsum", saved.dA_cumsum, shape.num_tokens(), 2 * shape.num_heads);
  require_shape_or_empty(name, "segment", in.segment, shape.num_tokens());
  require_shape(name, "states", states, shape.num_states(), shape.head_dim * shape.state_dim);
  return checked_before<T>(name, shape, in);
}
/// A state of each sequence and head, or none.
template <class A>
void require_carried(const char* name, const char* argument, const SsdShape& shape,
                     const View2<const A>& state) {
  if (state.extent(0) != 0)
    require_shape(name, argument, state, shape.batch * shape.num_heads,
                  shape.head_dim * shape.state_dim);
}
}  // namespace

template <class T>
void ssd_state_passing_forward(const ExecutionSpace& exec, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved) {
  using A = Accumulate<T>;
  const char* name = "ssd_state_passing_forward";
  const auto before = checked<T>(name, shape, in, saved, saved.states);
  require_carried<A>(name, "final_state", shape, saved.final_state);
  launch("elastic::ssd_state_passing_forward", exec,
         Passing<A, View2<A>>{shape, false, saved.dA_cumsum, in.segment, before, saved.states,
                              in.incoming.state, saved.final_state});
}

template <class T>
void ssd_state_passing_backward(const ExecutionSpace& exec, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  using A = Accumulate<T>;
  const char* name = "ssd_state_passing_backward";
  const auto before = checked<T>(name, shape, in, saved, work.dstates);
  require_carried<A>(name, "dfinal_state", shape, gradients.dfinal_state);
  require_carried<A>(name, "dincoming_state", shape, gradients.dincoming_state);
  launch("elastic::ssd_state_passing_backward", exec,
         Passing<A, View2<A>>{shape, true, saved.dA_cumsum, in.segment, before, work.dstates,
                              gradients.dfinal_state, gradients.dincoming_state});
}

template <class T>
void ssd_state_passing_total(const ExecutionSpace& exec, const SsdShape& shape, Direction direction,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved,
                             In2<Accumulate<T>> states, InOut2<Accumulate<T>> total,
                             InOut1<Accumulate<T>> decay) {
  using A = Accumulate<T>;
  const char* name = "ssd_state_passing_total";
  const auto before = checked<T>(name, shape, in, saved, states);
  require_carried<A>(name, "total", shape, total);
  require_shape(name, "decay", decay, shape.batch * shape.num_heads);
  Passing<A, View2<const A>> passing{
      shape, direction == Direction::backward, saved.dA_cumsum, in.segment, before, states};
  passing.carried_out = total;
  passing.total_decay = decay;
  launch("elastic::ssd_state_passing_total", exec, passing);
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void ssd_state_passing_forward<T>(const ExecutionSpace&, const SsdShape&,              \
                                             const SsdInputs<T>&, const SsdSaved<T>&);            \
  template void ssd_state_passing_backward<T>(const ExecutionSpace&, const SsdShape&,             \
                                              const SsdInputs<T>&, const SsdSaved<T>&,            \
                                              const SsdWorkspace<T>&, const SsdGradients<T>&);    \
  template void ssd_state_passing_total<T>(                                                       \
      const ExecutionSpace&, const SsdShape&, Direction, const SsdInputs<T>&, const SsdSaved<T>&, \
      In2<Accumulate<T>>, InOut2<Accumulate<T>>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
