// SPDX-License-Identifier: Apache-2.0
// One team for each sequence and head; a thread carries some elements of the state along the
// chunks.
#include "kernels/ssd_state_passing.hpp"

#include "base/shapes.hpp"
#include "kernels/ssd_chunk.hpp"

namespace elastic::kernels {
namespace {
/// d_k of chunk `row` and one head.
template <class S>
KOKKOS_INLINE_FUNCTION S chunk_decay(const SsdShape& shape, const View1<const token_t>& segment,
                                     const View2<const S>& dA_cumsum, index_t row, index_t head) {
  const Chunk chunk(shape, segment, row);
  if (!chunk.continues) return S(0);
  if (segment.extent(0) != 0)
    for (index_t t = chunk.first + 1; t < chunk.first + chunk.tokens; ++t)
      if (segment(t) != segment(t - 1)) return S(0);
  const S exponent = dA_cumsum(chunk.first + chunk.tokens - 1, head);
  return exponent < smallest_exponent<S> ? S(0) : vector_exp(exponent);
}

constexpr index_t carried_elements = on_host ? 256 : 1;

/// At every chunk in order (or backwards): what was carried here is handed out, and carried on with
/// what the chunk adds.
template <class S>
void pass_states(const char* label, const ExecutionSpace& exec, const SsdShape& shape,
                 bool backwards, const View2<const S>& dA_cumsum,
                 const View1<const token_t>& segment, const View2<S>& states) {
  const index_t chunks = shape.num_chunks(), heads = shape.num_heads,
                size = shape.head_dim * shape.state_dim;
  const index_t bytes = chunks * static_cast<index_t>(sizeof(S));
  const int level = scratch_level(bytes);
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, static_cast<int>(shape.batch * heads),
                                            Kokkos::AUTO);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      label, policy, KOKKOS_LAMBDA(const Team& team) {
        const index_t b = team.league_rank() / heads, h = team.league_rank() % heads;
        S* decay = static_cast<S*>(team.team_scratch(level).get_shmem_aligned(bytes, 64));
        for_each_row(team, chunks, [&](const index_t k) {
          decay[k] = chunk_decay<S>(shape, segment, dA_cumsum, b * chunks + k, h);
        });
        for_each_row(team, (size + carried_elements - 1) / carried_elements,
                     [&](const index_t block) {
                       const index_t first = block * carried_elements,
                                     count = math::min(carried_elements, size - first);
                       S carried[carried_elements] = {};
                       for (index_t step = 0; step < chunks; ++step) {
                         const index_t k = backwards ? chunks - 1 - step : step;
                         const S d = decay[k];
                         S* value = &states((b * chunks + k) * heads + h, first);
                         ELASTIC_SIMD
                         for (index_t e = 0; e < count; ++e) {
                           const S added = value[e];
                           value[e] = carried[e];
                           carried[e] = d * carried[e] + added;
                         }
                       }
                     });
      });
}
}  // namespace

template <class S>
void ssd_state_passing_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<S> dA_cumsum,
                               In1<token_t> segment, InOut2<S> states) {
  const char* name = "ssd_state_passing_forward";
  require_ssd_shape(name, shape);
  require_shape(name, "dA_cumsum", dA_cumsum, shape.num_tokens(), shape.num_heads);
  require_shape(name, "states", states, shape.num_states(), shape.head_dim * shape.state_dim);
  pass_states<S>("elastic::ssd_state_passing_forward", exec, shape, false, dA_cumsum, segment,
                 states);
}

template <class S>
void ssd_state_passing_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<S> dA_cumsum,
                                In1<token_t> segment, InOut2<S> dstates) {
  const char* name = "ssd_state_passing_backward";
  require_ssd_shape(name, shape);
  require_shape(name, "dA_cumsum", dA_cumsum, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dstates", dstates, shape.num_states(), shape.head_dim * shape.state_dim);
  pass_states<S>("elastic::ssd_state_passing_backward", exec, shape, true, dA_cumsum, segment,
                 dstates);
}

#define ELASTIC_INSTANTIATE(S)                                                                \
  template void ssd_state_passing_forward<S>(const ExecutionSpace&, const SsdShape&, In2<S>,  \
                                             In1<token_t>, InOut2<S>);                        \
  template void ssd_state_passing_backward<S>(const ExecutionSpace&, const SsdShape&, In2<S>, \
                                              In1<token_t>, InOut2<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
