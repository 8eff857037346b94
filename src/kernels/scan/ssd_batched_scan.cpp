// SPDX-License-Identifier: Apache-2.0
// The outputs by batched products. For position i of a chunk that begins with state S
//
//   y_i = sum_{j <= i} weights_ij x_j + (from_start_i C_i) S^T
//
// is one product over n + N terms, so that y is rounded once.
#include "kernels/scan/ssd_batched_buffers.hpp"

namespace elastic::kernels {
namespace {
/// A row (chunk, head, token i): exp(cumsum_i - cumsum_j) (C_i . B_j) Delta_j for all j, with D at
/// j = i, then from_start_i C_i; and x_i.
template <class T>
struct Weights : BatchKernel {
  using A = Accumulate<T>;
  View2<const T> x, ssm_C;
  View1<const A> ssm_D;
  OutputBuffers<T> buffers;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_head(row, heads, batch.tokens);
    const index_t P = shape.head_dim, N = shape.state_dim, n = batch.tokens, i = at.item,
                  first = batch.first_token(at.chunk), h = head(at.head_of_group),
                  of_head = h * buffers.factors.tokens + first,
                  of_chunk = at.chunk * heads + at.head_of_group;
    const A *high = buffers.factors.high + of_head, *low = buffers.factors.low + of_head,
            *delta = buffers.factors.delta + of_head;
    const int* run = buffers.factors.run + first;
    const A* scores = buffers.scores + (at.chunk * rows + i) * rows;
    T* weights = buffers.weights + (of_chunk * rows + i) * (rows + N);
    const A sum = high[i], sum_low = low[i], skip = ssm_D(h);
    const int run_i = run[i];
    for_lanes(team, n, [&](const index_t j) {
      A weight = 0;
      if (j <= i && run[j] == run_i) {
        const A exponent = (sum - high[j]) + (sum_low - low[j]);
        if (exponent >= smallest_exponent<A>) weight = scores[j] * delta[j] * vector_exp(exponent);
      }
      weights[j] = static_cast<T>(j == i ? weight + skip : weight);
    });
    const A from_start = buffers.factors.from_start[of_head + i];
    for_lanes(team, N, [&](const index_t m) {
      weights[n + m] = static_cast<T>(from_start * widen(ssm_C(first + i, batch.group * N + m)));
    });
    T* value = buffers.values + (of_chunk * (rows + N) + i) * P;
    for_lanes(team, P, [&](const index_t p) { value[p] = x(first + i, h * P + p); });
  }
};

/// A team (chunk, head): S^T below x, tile by tile through scratch, so that both are neighbours in
/// memory where they are read and where they are written.
template <class T>
struct TransposeStates : BatchKernel {
  using A = Accumulate<T>;
  View2<const A> states;
  T* values;

  static constexpr index_t tile = device_lanes, ld = tile + 1;
  KOKKOS_INLINE_FUNCTION static constexpr index_t bytes() {
    return tile * ld * static_cast<index_t>(sizeof(A));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t P = shape.head_dim, N = shape.state_dim, of_chunk = team.league_rank(),
                  h = head(of_chunk % heads);
    A* const block = static_cast<A*>(team.team_scratch(0).get_shmem_aligned(bytes(), 64));
    const A* state = &states(batch.chunk_row(of_chunk / heads) * shape.num_heads + h, 0);
    T* target = values + (of_chunk * (rows + N) + batch.tokens) * P;
    for (index_t p0 = 0; p0 < P; p0 += tile)
      for (index_t m0 = 0; m0 < N; m0 += tile) {
        const index_t down = math::min(tile, P - p0), across = math::min(tile, N - m0);
        team.team_barrier();
        for_each_row(team, down, [&](const index_t p) {
          for_lanes(team, across,
                    [&](const index_t m) { block[p * ld + m] = state[(p0 + p) * N + m0 + m]; });
        });
        Kokkos::parallel_for(Kokkos::TeamThreadRange(team, across), [&](const index_t m) {
          for_lanes(team, down, [&](const index_t p) {
            target[(m0 + m) * P + p0 + p] = static_cast<T>(block[p * ld + m]);
          });
        });
      }
  }
};
}  // namespace

template <class T>
void ssd_products_scan_forward(const Products& products, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved, InOut2<T> y,
                               InOut1<Accumulate<T>> workspace) {
  using A = Accumulate<T>;
  const char* name = "ssd_products_scan_forward";
  require_chunk_operands(name, shape, in, saved);
  require_shape(name, "ssm_C", in.ssm_C, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "ssm_D", in.ssm_D, shape.num_heads);
  require_shape(name, "y", y, shape.num_tokens(), shape.num_heads * shape.head_dim);
  const auto before = checked_before<T>(name, shape, in);
  const ExecutionSpace& exec = products.exec;
  ScratchCarver carver(aligned_memory(name, workspace, ssd_products_forward_size<T>(shape)));
  const OutputBuffers<T> buffers(carver, shape);
  const BatchExtents e(shape);
  spread_factors<T>(exec, shape, in, saved, before, buffers.factors);
  for_each_batch(shape, [&](const ChunkBatch& batch) {
    const index_t P = shape.head_dim, N = shape.state_dim, n = batch.tokens, q = e.rows,
                  heads = e.group_heads, terms = q + N, column = batch.group * N;
    gemm_batched<T, A>(products, {batch.count, 1}, Transpose::no, Transpose::yes,
                       chunks_of(in.ssm_C, batch, column, N), chunks_of(in.ssm_B, batch, column, N),
                       0, batch_of(buffers.scores, n, n, q, {q * q, 0}));
    for_rows_in_teams("elastic::ssd_weights", exec, batch.count * heads * n,
                      Weights<T>{{shape, batch}, in.x, in.ssm_C, in.ssm_D, buffers});
    const TransposeStates<T> transpose{{shape, batch}, saved.states, buffers.values};
    auto teams = device_teams(exec, batch.count * heads, row_threads);
    teams.set_scratch_size(0, Kokkos::PerTeam(static_cast<int>(transpose.bytes() + 64)));
    Kokkos::parallel_for("elastic::ssd_transpose_states", teams, transpose);
    gemm_batched<T, T>(
        products, {batch.count, heads}, Transpose::no, Transpose::no,
        batch_of<const T>(buffers.weights, n, n + N, terms, {heads * q * terms, q * terms}),
        batch_of<const T>(buffers.values, n + N, P, P, {heads * terms * P, terms * P}), 0,
        chunks_of(y, batch, batch.group * P, P, shape.num_groups * P));
  });
}

template <class T>
index_t ssd_products_forward_size(const SsdShape& shape) {
  using A = Accumulate<T>;
  return math::max(elements_of<StateBuffers<T>, A>(shape), elements_of<OutputBuffers<T>, A>(shape));
}

#define ELASTIC_INSTANTIATE(T)                                                                   \
  template void ssd_products_scan_forward<T>(const Products&, const SsdShape&,                   \
                                             const SsdInputs<T>&, const SsdSaved<T>&, InOut2<T>, \
                                             InOut1<Accumulate<T>>);                             \
  template index_t ssd_products_forward_size<T>(const SsdShape&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
