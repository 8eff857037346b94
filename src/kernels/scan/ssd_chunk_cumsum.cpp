// SPDX-License-Identifier: Apache-2.0
// On a host one work item owns one chunk and `lanes` heads, and walks along the chunk. On a device
// a thread has one chunk and head: its lanes take the positions, one of them adds up.
#include "kernels/scan/ssd_chunk_cumsum.hpp"

#include "base/shapes.hpp"
#include "kernels/scan/ssd_batches.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {
constexpr index_t heads_of_item = lanes;
/// Pairs of a chunk and a head that a team of a device has: so few that 1024 of them, those of a
/// rank of 8, keep all its processors busy.
constexpr int team_rows = 4;

using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
Policy chunk_heads(const ExecutionSpace& exec, const SsdShape& shape) {
  const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
  return Policy(exec, 0, shape.batch * shape.num_chunks() * across);
}

template <class T>
struct Forward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, in.segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    A rate[heads_of_item] = {}, delta[heads_of_item] = {}, high[heads_of_item] = {},
      low[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) rate[h] = -math::exp(in.A_log(head + h));
    for (index_t t = chunk.first; t < chunk.first + chunk.tokens; ++t) {
      const bool begins =
          in.segment.extent(0) != 0 && t > chunk.first && in.segment(t) != in.segment(t - 1);
      for (index_t h = 0; h < count; ++h) {
        const A m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(head + h);
        delta[h] = softplus(m * widen(in.dt_raw(t, head + h)) + in.dt_bias(head + h));
      }
      ELASTIC_SIMD
      for (index_t h = 0; h < heads_of_item; ++h) {
        TwoWords<A> sum{begins ? A(0) : high[h], begins ? A(0) : low[h]};
        sum.add(step_exponent(delta[h], rate[h]));
        high[h] = sum.high;
        low[h] = sum.low;
      }
      for (index_t h = 0; h < count; ++h) {
        saved.dt(t, head + h) = delta[h];
        saved.dA_cumsum(t, head + h) = high[h];
        saved.dA_cumsum(t, shape.num_heads + head + h) = low[h];
      }
    }
  }
};

/// A team of team_rows threads, each with a chunk and a head, on a device.
template <class T>
struct DeviceForward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  View2<A> dt, dA_cumsum;
  index_t rows = 0;  ///< Q' = min(Q, L)
  int level = 0;

  /// [team_rows, 2, Q'] high and low words; first, steps and whether a document begins.
  index_t bytes() const { return team_rows * 2 * rows * static_cast<index_t>(sizeof(A)); }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t heads = shape.num_heads, first = team.league_rank() * index_t{team_rows},
                  count = math::min<index_t>(team_rows, num_rows() - first);
    A* const scratch = static_cast<A*>(team.team_scratch(level).get_shmem_aligned(
        team_rows * 2 * rows * static_cast<index_t>(sizeof(A)), 64));
    for_each_row(team, count, [&](const index_t thread) {
      const index_t h = (first + thread) % heads;
      const Chunk chunk(shape, in.segment, (first + thread) / heads);
      const A rate = -math::exp(in.A_log(h)), bias = in.dt_bias(h),
              mask = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(h);
      A *high = scratch + 2 * thread * rows, *low = high + rows;
      for_lanes(team, chunk.tokens, [&](const index_t i) {
        const index_t t = chunk.first + i;
        const A delta = softplus(mask * widen(in.dt_raw(t, h)) + bias);
        dt(t, h) = delta;
        high[i] = step_exponent(delta, rate);
        low[i] = in.segment.extent(0) != 0 && i > 0 && in.segment(t) != in.segment(t - 1);
      });
    });
    for_each_row(team, count, [&](const index_t thread) {
      const Chunk chunk(shape, in.segment, (first + thread) / heads);
      A *high = scratch + 2 * thread * rows, *low = high + rows;
      Kokkos::single(Kokkos::PerThread(team), [&]() {
        TwoWords<A> sum;
        for (index_t i = 0; i < chunk.tokens; ++i) {
          if (low[i] != A(0)) sum = {};
          sum.add(high[i]);
          high[i] = sum.high;
          low[i] = sum.low;
        }
      });
    });
    for_each_row(team, count, [&](const index_t thread) {
      const index_t h = (first + thread) % heads;
      const Chunk chunk(shape, in.segment, (first + thread) / heads);
      const A *high = scratch + 2 * thread * rows, *low = high + rows;
      for_lanes(team, chunk.tokens, [&](const index_t i) {
        dA_cumsum(chunk.first + i, h) = high[i];
        dA_cumsum(chunk.first + i, heads + h) = low[i];
      });
    });
  }

 private:
  KOKKOS_INLINE_FUNCTION index_t num_rows() const {
    return shape.batch * ((shape.seq_length + shape.chunk_size - 1) / shape.chunk_size) *
           shape.num_heads;
  }
};

/// Partial sums of chunk `row` in rows 3 row, 3 row + 1, 3 row + 2: dA_log, ddt_bias, ddt_mask.
template <class T>
struct Backward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;
  SsdWorkspace<T> work;
  View2<T> ddt_raw;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, in.segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    A rate[heads_of_item], dA[heads_of_item] = {}, dbias[heads_of_item] = {},
                           dmask[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) rate[h] = -math::exp(in.A_log(head + h));
    for (index_t t = chunk.first + chunk.tokens - 1; t >= chunk.first; --t) {
      for (index_t h = 0; h < count; ++h) {
        const A of_exponent = work.ddA(t, head + h);
        dA[h] += saved.dt(t, head + h) * of_exponent;
        const A m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(head + h),
                raw = widen(in.dt_raw(t, head + h));
        const A before = (work.ddt(t, head + h) + rate[h] * of_exponent) *
                         vector_sigmoid(m * raw + in.dt_bias(head + h));
        dbias[h] += before;
        dmask[h] += before * raw;
        store_rounded(ddt_raw(t, head + h), before * m);
      }
    }
    for (index_t h = 0; h < count; ++h) {
      work.of_heads(3 * chunk.row, head + h) = rate[h] * dA[h];
      work.of_heads(3 * chunk.row + 1, head + h) = dbias[h];
      work.of_heads(3 * chunk.row + 2, head + h) = dmask[h];
    }
  }
};

/// A row (chunk, head), on a device: the lanes take the positions.
template <class T>
struct DeviceBackward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  View2<const A> dt, ddt, ddA;
  View2<A> of_heads;
  View2<T> ddt_raw;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const index_t h = row % shape.num_heads;
    const Chunk chunk(shape, in.segment, row / shape.num_heads);
    const A rate = -math::exp(in.A_log(h)), bias = in.dt_bias(h),
            m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(h);
    const auto before = [&](const index_t t) {
      return (ddt(t, h) + rate * ddA(t, h)) * vector_sigmoid(m * widen(in.dt_raw(t, h)) + bias);
    };
    const A dA = sum_of_lanes<A>(team, chunk.tokens, [&](const index_t i) {
      return dt(chunk.first + i, h) * ddA(chunk.first + i, h);
    });
    const A dbias = sum_of_lanes<A>(team, chunk.tokens, [&](const index_t i) {
      const A gradient = before(chunk.first + i);
      ddt_raw(chunk.first + i, h) = static_cast<T>(gradient * m);
      return gradient;
    });
    const A dmask = sum_of_lanes<A>(team, chunk.tokens, [&](const index_t i) {
      return before(chunk.first + i) * widen(in.dt_raw(chunk.first + i, h));
    });
    Kokkos::single(Kokkos::PerThread(team), [&]() {
      of_heads(3 * chunk.row, h) = rate * dA;
      of_heads(3 * chunk.row + 1, h) = dbias;
      of_heads(3 * chunk.row + 2, h) = dmask;
    });
  }
};

template <class T>
void require_inputs(const char* name, const SsdShape& shape, const SsdInputs<T>& in,
                    const SsdSaved<T>& saved) {
  require_ssd_shape(name, shape);
  require_shape(name, "dt_raw", in.dt_raw, shape.num_tokens(), shape.num_heads);
  require_shape(name, "A_log", in.A_log, shape.num_heads);
  require_shape(name, "dt_bias", in.dt_bias, shape.num_heads);
  require_shape_or_empty(name, "dt_mask", in.dt_mask, shape.num_heads);
  require_shape_or_empty(name, "segment", in.segment, shape.num_tokens());
  require_shape(name, "dt", saved.dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", saved.dA_cumsum, shape.num_tokens(), 2 * shape.num_heads);
}
}  // namespace

template <class T>
void ssd_chunk_cumsum_forward(const ExecutionSpace& exec, const SsdShape& shape,
                              const SsdInputs<T>& in, const SsdSaved<T>& saved) {
  require_inputs("ssd_chunk_cumsum_forward", shape, in, saved);
  const char* label = "elastic::ssd_chunk_cumsum_forward";
  if constexpr (on_host) {
    Kokkos::parallel_for(label, chunk_heads(exec, shape), Forward<T>{shape, in, saved});
  } else {
    DeviceForward<T> forward{shape, in, saved.dt, saved.dA_cumsum,
                             math::min(shape.chunk_size, shape.seq_length)};
    forward.level = scratch_level(forward.bytes());
    auto teams = device_teams(exec, (shape.num_states() + team_rows - 1) / team_rows, team_rows);
    teams.set_scratch_size(forward.level, Kokkos::PerTeam(static_cast<int>(forward.bytes() + 64)));
    Kokkos::parallel_for(label, teams, forward);
  }
}

template <class T>
void ssd_chunk_cumsum_backward(const ExecutionSpace& exec, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved,
                               const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  const char* name = "ssd_chunk_cumsum_backward";
  require_inputs(name, shape, in, saved);
  const index_t chunks = shape.batch * shape.num_chunks(), heads = shape.num_heads;
  require_shape(name, "ddt_raw", gradients.ddt_raw, shape.num_tokens(), heads);
  require_shape(name, "dA_log", gradients.dA_log, heads);
  require_shape(name, "ddt_bias", gradients.ddt_bias, heads);
  require_shape_or_empty(name, "ddt_mask", gradients.ddt_mask, heads);
  const char* label = "elastic::ssd_chunk_cumsum_backward";
  if constexpr (on_host)
    Kokkos::parallel_for(label, chunk_heads(exec, shape),
                         Backward<T>{shape, in, saved, work, gradients.ddt_raw});
  else
    for_rows_in_teams(label, exec, shape.num_states(),
                      DeviceBackward<T>{shape, in, saved.dt, work.ddt, work.ddA, work.of_heads,
                                        gradients.ddt_raw},
                      team_rows);
  const auto add = [&](index_t first, const View1<Accumulate<T>>& total) {
    add_chunk_sums<Accumulate<T>>("elastic::ssd_chunk_cumsum_parameters", exec, work.of_heads,
                                  {first, 3, chunks}, total);
  };
  add(0, gradients.dA_log);
  add(1, gradients.ddt_bias);
  if (gradients.ddt_mask.extent(0) != 0) add(2, gradients.ddt_mask);
}

#define ELASTIC_INSTANTIATE(T)                                                        \
  template void ssd_chunk_cumsum_forward<T>(const ExecutionSpace&, const SsdShape&,   \
                                            const SsdInputs<T>&, const SsdSaved<T>&); \
  template void ssd_chunk_cumsum_backward<T>(const ExecutionSpace&, const SsdShape&,  \
                                             const SsdInputs<T>&, const SsdSaved<T>&, \
                                             const SsdWorkspace<T>&, const SsdGradients<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
