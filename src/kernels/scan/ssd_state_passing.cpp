// SPDX-License-Identifier: Apache-2.0
// On a host one team for each sequence and head, whose threads carry runs of elements of the state
// along the chunks; on a device several, whose lanes carry a few elements each.
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

constexpr index_t lane_elements = 4;  ///< carried by a lane of a device, whose loads then overlap
constexpr index_t team_elements = row_threads * device_lanes * lane_elements;

/// One pass along the chunks. Views [B*H, *] may be empty.
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
                  size = shape.head_dim * shape.state_dim,
                  pieces = on_host ? 1 : (size + team_elements - 1) / team_elements,
                  row = team.league_rank() / pieces, piece = team.league_rank() % pieces;
    A* const decay = static_cast<A*>(
        team.team_scratch(level).get_shmem_aligned(chunks * static_cast<index_t>(sizeof(A)), 64));
    if constexpr (on_host)
      carry_runs(team, chunks, size, row, decay);
    else
      carry_elements(team, chunks, size, row, piece * team_elements, decay);
    if (total_decay.extent(0) == 0 || piece != 0) return;
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      A product = 1;
      for (index_t k = 0; k < chunks; ++k) product *= decay[k];
      total_decay(row) = product;
    });
  }

 private:
  KOKKOS_INLINE_FUNCTION void carry_runs(const Team& team, index_t chunks, index_t size,
                                         index_t row, A* decay) const {
    constexpr index_t carried_elements = 256;
    const index_t heads = shape.num_heads, b = row / heads, h = row % heads;
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
  }

  KOKKOS_INLINE_FUNCTION void carry_elements(const Team& team, index_t chunks, index_t size,
                                             index_t row, index_t first, A* decay) const {
    const index_t heads = shape.num_heads, b = row / heads, h = row % heads;
    for_each_row(team, chunks, [&](const index_t k) {
      const Chunk chunk(shape, segment, b * chunks + k, before);
      int begins = chunk.continues ? 0 : 1;
      if (chunk.continues && segment.extent(0) != 0)
        Kokkos::parallel_reduce(
            Kokkos::ThreadVectorRange(team, chunk.tokens - 1),
            [&](const index_t i, int& sum) {
              sum += segment(chunk.first + i) != segment(chunk.first + i + 1);
            },
            begins);
      Kokkos::single(Kokkos::PerThread(team), [&]() {
        decay[k] = begins > 0 ? A(0) : decay_of(dA_cumsum(chunk.first + chunk.tokens - 1, h));
      });
    });
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, row_threads), [&](const index_t thread) {
      Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, device_lanes), [&](const index_t lane) {
        carry_lane(chunks, size, row, first + thread * device_lanes + lane, decay);
      });
    });
  }
  /// Elements begin, begin + row_threads * device_lanes, ... of one state. The next chunk's are
  /// read before this chunk's are written.
  KOKKOS_INLINE_FUNCTION void carry_lane(index_t chunks, index_t size, index_t row, index_t begin,
                                         const A* decay) const {
    constexpr index_t stride = row_threads * device_lanes;
    const index_t heads = shape.num_heads, b = row / heads, h = row % heads;
    const auto state = [&](index_t step) {
      const index_t k = backwards ? chunks - 1 - step : step;
      return &states((b * chunks + k) * heads + h, 0);
    };
    A carried[lane_elements], added[lane_elements], next[lane_elements] = {};
    for (index_t m = 0; m < lane_elements; ++m) {
      const index_t e = begin + m * stride;
      carried[m] = carried_in.extent(0) != 0 && e < size ? carried_in(row, e) : A(0);
      added[m] = e < size ? state(0)[e] : A(0);
    }
    for (index_t step = 0; step < chunks; ++step) {
      if (step + 1 < chunks)
        for (index_t m = 0; m < lane_elements; ++m)
          if (begin + m * stride < size) next[m] = state(step + 1)[begin + m * stride];
      const A d = decay[backwards ? chunks - 1 - step : step];
      for (index_t m = 0; m < lane_elements; ++m) {
        if constexpr (!std::is_const_v<typename State::value_type>)
          if (begin + m * stride < size) state(step)[begin + m * stride] = carried[m];
        carried[m] = d * carried[m] + added[m];
        added[m] = next[m];
      }
    }
    if (carried_out.extent(0) != 0)
      for (index_t m = 0; m < lane_elements; ++m)
        if (begin + m * stride < size) carried_out(row, begin + m * stride) = carried[m];
  }
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
  const index_t rows = shape.batch * shape.num_heads, size = shape.head_dim * shape.state_dim;
  TeamPolicy policy =
      on_host
          ? TeamPolicy(exec, static_cast<int>(rows), Kokkos::AUTO)
          : device_teams(exec, rows * ((size + team_elements - 1) / team_elements), row_threads);
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
