// SPDX-License-Identifier: Apache-2.0
// One team for each chunk and group: the heads of a group share the scores C B^T and,
// going backward, their gradient.
#include "kernels/scan/ssd_chunk_scan.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/scan/ssd_batches.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {
template <class T>
struct Forward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;
  SsdBefore before;
  View2<T> y;

  struct Scratch {
    int *begin, *end;
    HeadDecays<A> head;
    A *Bt, *Ct;    ///< [N, Q]
    A* scores_t;   ///< [Q, Q]: row j, column i
    A* weights_t;  ///< the same, of one head
    A* x;          ///< [Q, P]
    A* state_t;    ///< [N, P]
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          Bt(carver.take<A>(s.state_dim * padded(q))),
          Ct(carver.take<A>(s.state_dim * padded(q))),
          scores_t(carver.take<A>(padded(q) * padded(q))),
          weights_t(carver.take<A>(padded(q) * padded(q))),
          x(carver.take<A>(q * padded(s.head_dim))),
          state_t(carver.take<A>(s.state_dim * padded(s.head_dim))) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, N = shape.state_dim, g = team.league_rank() % G,
                  ldq = padded(rows);
    const Chunk chunk(shape, in.segment, team.league_rank() / G, before);
    const index_t n = chunk.tokens;
    find_runs(team, chunk, in.segment, scratch.begin, scratch.end);
    pack_transposed(team, scratch.Bt, ldq, &in.ssm_B(chunk.first, g * N),
                    leading_dimension(in.ssm_B), n, N);
    pack_transposed(team, scratch.Ct, ldq, &in.ssm_C(chunk.first, g * N),
                    leading_dimension(in.ssm_C), n, N);
    for_each_tile(team, n, n, [&](const index_t j, const index_t i) {
      if (i + lanes <= j) return;  // i < j throughout
      Tile<A> tile;
      tile.multiply(scratch.Bt + j, ldq, scratch.Ct + i, ldq, 0, N);
      tile.store(scratch.scores_t + j * ldq + i, ldq, tile_rows, lanes);
    });
    for (index_t h = g; h < shape.num_heads; h += G) one_head(team, scratch, chunk, h);
  }

 private:
  KOKKOS_INLINE_FUNCTION void one_head(const Team& team, const Scratch& scratch, const Chunk& chunk,
                                       index_t h) const {
    const index_t P = shape.head_dim, N = shape.state_dim, n = chunk.tokens, ldq = padded(rows),
                  ldp = padded(P);
    scratch.head.load(team, chunk, scratch.begin, saved.dt, saved.dA_cumsum, h);
    pack(team, scratch.x, &in.x(chunk.first, h * P), leading_dimension(in.x), n, P);
    if (chunk.continues)
      pack_transposed(team, scratch.state_t, ldp, &saved.states(chunk.row * shape.num_heads + h, 0),
                      N, P, N);
    // weights_t[j, i] = exp(cumsum_i - cumsum_j) (C_i . B_j) Delta_j, and D on the diagonal
    const A skip = in.ssm_D(h);
    for_each_block(team, n, n, [&](const index_t row, const index_t column) {
      if (column + lanes <= row) return;
      const int j = static_cast<int>(row), first = static_cast<int>(column), end = scratch.end[j];
      const A sum = scratch.head.cumsum[j], sum_low = scratch.head.cumsum_low[j],
              delta = scratch.head.delta[j];
      const A* scores = scratch.scores_t + row * ldq + column;
      const A *cumsum = scratch.head.cumsum + column, *low = scratch.head.cumsum_low + column;
      A* weights = scratch.weights_t + row * ldq + column;
      ELASTIC_SIMD
      for (int l = 0; l < static_cast<int>(lanes); ++l) {
        const A exponent = (cumsum[l] - sum) + (low[l] - sum_low);
        const bool sees = first + l >= j && first + l < end && exponent >= smallest_exponent<A>;
        weights[l] = sees ? scores[l] * delta * vector_exp(exponent) : A(0);
      }
      if (first <= j) weights[j - first] += skip;
    });
    for_each_tile(team, n, P, [&](const index_t i, const index_t p) {
      Tile<A> tile;
      tile.multiply(scratch.Ct + i, ldq, scratch.state_t + p, ldp, 0, chunk.continues ? N : 0);
      tile.scale_rows(scratch.head.from_start + i);
      tile.multiply_add(scratch.weights_t + i, ldq, scratch.x + p, ldp, scratch.begin[i],
                        math::min(i + tile_rows, n));
      tile.store(&y(chunk.first + i, h * P + p), leading_dimension(y), n - i, P - p);
    });
  }
};

template <class T>
struct Backward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;
  SsdBefore before;
  View2<const T> dy;
  SsdWorkspace<T> work;
  View2<A> dx, dssm_B;  ///< sums, which ssd_chunk_state adds to
  View2<T> dssm_C;

  struct Scratch {
    int *begin, *end;
    HeadDecays<A> head;
    A *B, *C;        ///< [Q, N]
    A *Bt, *Ct;      ///< [N, Q]
    A* scores;       ///< [Q, Q]: row i, column j
    A* dscores;      ///< sum over the heads
    A* weights;      ///< of one head: the gradient, then the weight itself; last dscores transposed
    A* pairs;        ///< [Q, Q] of one head: gradient by the exponent cumsum_i - cumsum_j
    A *dy, *dyt;     ///< [Q, P], [P, Q]
    A* xt;           ///< [P, Q], Delta_j x_j
    A* state;        ///< [P, N]
    A* dx;           ///< [Q, P]
    A *dC, *dC_sum;  ///< [Q, N] through the state, of one head and summed over the heads
    A* of_exponent;  ///< [Q]: gradient by Delta_t A through the pairs
    A* of_state;     ///< [Q]: the same through the state at the beginning
    A* skip;         ///< [Q]: part of dD
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          B(carver.take<A>(q * padded(s.state_dim))),
          C(carver.take<A>(q * padded(s.state_dim))),
          Bt(carver.take<A>(s.state_dim * padded(q))),
          Ct(carver.take<A>(s.state_dim * padded(q))),
          scores(carver.take<A>(padded(q) * padded(q))),
          dscores(carver.take<A>(padded(q) * padded(q))),
          weights(carver.take<A>(padded(q) * padded(q))),
          pairs(carver.take<A>(padded(q) * padded(q))),
          dy(carver.take<A>(q * padded(s.head_dim))),
          dyt(carver.take<A>(s.head_dim * padded(q))),
          xt(carver.take<A>(s.head_dim * padded(q))),
          state(carver.take<A>(s.head_dim * padded(s.state_dim))),
          dx(carver.take<A>(padded(q) * padded(s.head_dim))),
          dC(carver.take<A>(padded(q) * padded(s.state_dim))),
          dC_sum(carver.take<A>(padded(q) * padded(s.state_dim))),
          of_exponent(carver.take<A>(q)),
          of_state(carver.take<A>(q)),
          skip(carver.take<A>(q)) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, g = team.league_rank() % G;
    const Chunk chunk(shape, in.segment, team.league_rank() / G, before);
    find_runs(team, chunk, in.segment, scratch.begin, scratch.end);
    load_group(team, scratch, chunk, g);
    for (index_t h = g; h < shape.num_heads; h += G) {
      load_head(team, scratch, chunk, h);
      through_scores(team, scratch, chunk);
      through_exponents(team, scratch, chunk);
      through_state(team, scratch, chunk, h);
      finish_head(team, scratch, chunk, h);
    }
    finish_group(team, scratch, chunk, g);
  }

 private:
  KOKKOS_INLINE_FUNCTION void load_group(const Team& team, const Scratch& scratch,
                                         const Chunk& chunk, index_t g) const {
    const index_t N = shape.state_dim, n = chunk.tokens, ldq = padded(rows), ldn = padded(N);
    pack(team, scratch.B, &in.ssm_B(chunk.first, g * N), leading_dimension(in.ssm_B), n, N);
    pack(team, scratch.C, &in.ssm_C(chunk.first, g * N), leading_dimension(in.ssm_C), n, N);
    pack_transposed(team, scratch.Bt, ldq, scratch.B, ldn, n, N);
    pack_transposed(team, scratch.Ct, ldq, scratch.C, ldn, n, N);
    for_each_tile(team, n, n, [&](const index_t i, const index_t j) {
      if (j >= i + tile_rows) return;  // j > i throughout
      Tile<A> tile;
      tile.multiply(scratch.Ct + i, ldq, scratch.Bt + j, ldq, 0, N);
      tile.store(scratch.scores + i * ldq + j, ldq, tile_rows, lanes);
    });
    for_each_block(team, padded(n), ldq, [&](const index_t i, const index_t j0) {
      for (index_t j = j0; j < j0 + lanes; ++j) scratch.dscores[i * ldq + j] = A(0);
    });
    for_each_block(team, padded(n), ldn, [&](const index_t i, const index_t m0) {
      for (index_t m = m0; m < m0 + lanes; ++m) scratch.dC_sum[i * ldn + m] = A(0);
    });
  }

  KOKKOS_INLINE_FUNCTION void load_head(const Team& team, const Scratch& scratch,
                                        const Chunk& chunk, index_t h) const {
    const index_t P = shape.head_dim, n = chunk.tokens, ldq = padded(rows), ldp = padded(P);
    const A* delta = scratch.head.delta;
    scratch.head.load(team, chunk, scratch.begin, saved.dt, saved.dA_cumsum, h);
    pack(team, scratch.dy, &dy(chunk.first, h * P), leading_dimension(dy), n, P);
    pack_transposed(team, scratch.dyt, ldq, scratch.dy, ldp, n, P);
    pack_transposed(team, scratch.xt, ldq, &in.x(chunk.first, h * P), leading_dimension(in.x), n,
                    P);
    for_each_block(team, P, ldq, [&](const index_t p, const index_t j0) {
      ELASTIC_SIMD
      for (index_t j = j0; j < j0 + lanes; ++j) scratch.xt[p * ldq + j] *= delta[j];
    });
  }

  /// y_i = sum_j weights_ij (Delta_j x_j):
  /// the gradient by the scores, by Delta_j x_j and by the exponents.
  KOKKOS_INLINE_FUNCTION void through_scores(const Team& team, const Scratch& scratch,
                                             const Chunk& chunk) const {
    const index_t P = shape.head_dim, n = chunk.tokens, ldq = padded(rows), ldp = padded(P);
    for_each_tile(team, n, n, [&](const index_t i, const index_t j) {
      if (j >= i + tile_rows || j + lanes <= scratch.begin[i]) return;
      Tile<A> tile;
      tile.multiply(scratch.dyt + i, ldq, scratch.xt + j, ldq, 0, P);
      tile.store(scratch.weights + i * ldq + j, ldq, tile_rows, lanes);
    });
    for_each_row(team, n, [&](const index_t row) {
      const int i = static_cast<int>(row), begin = scratch.begin[i];
      const A sum = scratch.head.cumsum[i], sum_low = scratch.head.cumsum_low[i];
      for (int first = 0; first <= i; first += static_cast<int>(lanes)) {
        const A *cumsum = scratch.head.cumsum + first, *low = scratch.head.cumsum_low + first;
        const A* scores = scratch.scores + row * ldq + first;
        A* dscores = scratch.dscores + row * ldq + first;
        A *weights = scratch.weights + row * ldq + first,
          *pairs = scratch.pairs + row * ldq + first;
        ELASTIC_SIMD
        for (int l = 0; l < static_cast<int>(lanes); ++l) {
          const A exponent = (sum - cumsum[l]) + (sum_low - low[l]);
          const bool sees =
              first + l >= begin && first + l <= i && exponent >= smallest_exponent<A>;
          const A decay = vector_exp(exponent);
          const A gradient = sees ? weights[l] * decay : A(0);
          dscores[l] += gradient;
          pairs[l] = sees ? gradient * scores[l] : A(0);
          weights[l] = sees ? scores[l] * decay : A(0);
        }
      }
    });
    for_each_tile(team, n, P, [&](const index_t j, const index_t p) {
      Tile<A> tile;
      const index_t end = scratch.end[math::min(j + tile_rows, n) - 1];
      tile.multiply(scratch.weights + j, ldq, scratch.dy + p, ldp, j, end);
      tile.store(scratch.dx + j * ldp + p, ldp, tile_rows, lanes);
    });
  }

  /// Delta_t A is part of the exponents of all pairs i >= t > j. Their gradients are added up as
  /// they are: columns from the last row up, then rows. As differences of sums over rows and
  /// columns they would cancel, with A times the rounding of what a position gives itself.
  KOKKOS_INLINE_FUNCTION void through_exponents(const Team& team, const Scratch& scratch,
                                                const Chunk& chunk) const {
    const index_t n = chunk.tokens, ldq = padded(rows);
    for_each_block(team, 1, n, [&](index_t, const index_t j) {
      A sum[lanes] = {};
      for (index_t i = n - 1; i > j; --i) {
        A* pairs = scratch.pairs + i * ldq + j;
        ELASTIC_SIMD
        for (index_t l = 0; l < lanes; ++l) pairs[l] = sum[l] += pairs[l];
      }
    });
    for_each_row(team, n, [&](const index_t t) {
      const A* pairs = scratch.pairs + t * ldq;
      A sum = 0;
      ELASTIC_SIMD_SUM(sum)
      for (index_t j = 0; j < t; ++j) sum += pairs[j];
      scratch.of_exponent[t] = sum;
      scratch.of_state[t] = A(0);
    });
  }

  /// y_i = exp(cumsum_i) S C_i: the gradient by C, by the state and by Delta_t A for all t <= i.
  KOKKOS_INLINE_FUNCTION void through_state(const Team& team, const Scratch& scratch,
                                            const Chunk& chunk, index_t h) const {
    const index_t P = shape.head_dim, N = shape.state_dim, n = chunk.tokens;
    const index_t ldq = padded(rows), ldp = padded(P), ldn = padded(N),
                  row = chunk.row * shape.num_heads + h;
    const A* from_start = scratch.head.from_start;
    A* target = &work.dstates(row, 0);
    if (!chunk.continues) {
      for_each_row(team, P * N, [&](const index_t e) { target[e] = A(0); });
      return;
    }
    pack(team, scratch.state, &saved.states(row, 0), N, P, N);
    for_each_tile(team, n, N, [&](const index_t i, const index_t m) {
      Tile<A> tile;
      tile.multiply(scratch.dyt + i, ldq, scratch.state + m, ldn, 0, P);
      tile.scale_rows(from_start + i);
      tile.store(scratch.dC + i * ldn + m, ldn, tile_rows, lanes);
    });
    for_each_row(team, n, [&](const index_t i) {
      const A *C = scratch.C + i * ldn, *dC = scratch.dC + i * ldn;
      A *sum = scratch.dC_sum + i * ldn, *gradient = scratch.dy + i * ldp;
      A dot = 0;
      ELASTIC_SIMD_SUM(dot)
      for (index_t m = 0; m < N; ++m) {
        dot += C[m] * dC[m];
        sum[m] += dC[m];
      }
      scratch.of_state[i] = dot;
      ELASTIC_SIMD
      for (index_t p = 0; p < P; ++p) gradient[p] *= from_start[i];
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      for (index_t i = n - 1; i-- > 0;) scratch.of_state[i] += scratch.of_state[i + 1];
    });
    for_each_tile(team, P, N, [&](const index_t p, const index_t m) {
      Tile<A> tile;
      tile.multiply(scratch.dy + p, ldp, scratch.C + m, ldn, 0, scratch.end[0]);
      tile.store(target + p * N + m, N, P - p, N - m);
    });
  }

  KOKKOS_INLINE_FUNCTION void finish_head(const Team& team, const Scratch& scratch,
                                          const Chunk& chunk, index_t h) const {
    const index_t P = shape.head_dim, ldp = padded(P);
    const A skip = in.ssm_D(h);
    for_each_row(team, chunk.tokens, [&](const index_t j) {
      const T *x_row = &in.x(chunk.first + j, h * P), *dy_row = &dy(chunk.first + j, h * P);
      const A* gradient = scratch.dx + j * ldp;
      A* dx_row = &dx(chunk.first + j, h * P);
      const A delta = scratch.head.delta[j];
      A direct = 0, of_skip = 0;
      ELASTIC_SIMD_SUM(of_skip)
      for (index_t p = 0; p < P; ++p) of_skip += widen(x_row[p]) * widen(dy_row[p]);
      ELASTIC_SIMD_SUM(direct)
      for (index_t p = 0; p < P; ++p) {
        direct += widen(x_row[p]) * gradient[p];
        dx_row[p] = delta * gradient[p] + skip * widen(dy_row[p]);
      }
      scratch.skip[j] = of_skip;
      work.ddt(chunk.first + j, h) = direct;
      work.ddA(chunk.first + j, h) = scratch.of_exponent[j] + scratch.of_state[j];
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      A sum = 0;
      for (index_t j = 0; j < chunk.tokens; ++j) sum += scratch.skip[j];
      work.of_skip(chunk.row, h) = sum;
    });
    team.team_barrier();
  }

  /// The scores' part of the gradients by B and C, and dC's part through the states.
  KOKKOS_INLINE_FUNCTION void finish_group(const Team& team, const Scratch& scratch,
                                           const Chunk& chunk, index_t g) const {
    const index_t N = shape.state_dim, n = chunk.tokens, ldq = padded(rows), ldn = padded(N);
    A* dscores_t = scratch.weights;
    pack_transposed(team, dscores_t, ldq, scratch.dscores, ldq, n, n);
    for_each_tile(team, n, N, [&](const index_t i, const index_t m) {
      Tile<A> tile;
      tile.multiply(dscores_t + i, ldq, scratch.B + m, ldn, scratch.begin[i],
                    math::min(i + tile_rows, n));
      tile.add_to(scratch.dC_sum + i * ldn + m, ldn, tile_rows, lanes);
      const index_t end = scratch.end[math::min(i + tile_rows, n) - 1];
      tile.multiply(scratch.dscores + i, ldq, scratch.C + m, ldn, i, end);
      tile.store(&dssm_B(chunk.first + i, g * N + m), leading_dimension(dssm_B), n - i, N - m);
    });
    for_each_block(team, n, N, [&](const index_t i, const index_t m0) {
      for (index_t m = m0; m < math::min(m0 + lanes, N); ++m)
        store_rounded(dssm_C(chunk.first + i, g * N + m), scratch.dC_sum[i * ldn + m]);
    });
  }
};

template <class T>
void require_operands(const char* name, const SsdShape& shape, const SsdInputs<T>& in,
                      const SsdSaved<T>& saved) {
  require_ssd_shape(name, shape);
  require_shape(name, "states", saved.states, shape.num_states(), shape.head_dim * shape.state_dim);
  require_shape(name, "x", in.x, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "ssm_B", in.ssm_B, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "ssm_C", in.ssm_C, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "dt", saved.dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", saved.dA_cumsum, shape.num_tokens(), 2 * shape.num_heads);
  require_shape(name, "ssm_D", in.ssm_D, shape.num_heads);
  require_shape_or_empty(name, "segment", in.segment, shape.num_tokens());
}

/// Multiply-adds of one product of every token with a row of [P, N], and of one with the causal
/// pairs of the scores, half of Q + 1 per token.
double state_flops(const SsdShape& s) {
  return 2.0 * s.num_tokens() * s.num_heads * s.head_dim * s.state_dim;
}
double score_flops(const SsdShape& s, index_t count, index_t width) {
  return 1.0 * s.num_tokens() * (math::min(s.chunk_size, s.seq_length) + 1) * count * width;
}
}  // namespace

template <class T>
void ssd_chunk_scan_forward(const ExecutionSpace& exec, const SsdShape& shape,
                            const SsdInputs<T>& in, const SsdSaved<T>& saved, InOut2<T> y) {
  const char* name = "ssd_chunk_scan_forward";
  require_operands(name, shape, in, saved);
  const auto before = checked_before<T>(name, shape, in);
  require_shape(name, "y", y, shape.num_tokens(), shape.num_heads * shape.head_dim);
  launch_chunk_groups("elastic::ssd_chunk_scan_forward", exec, shape,
                      Forward<T>{shape, in, saved, before, y});
  add_flops(state_flops(shape) + score_flops(shape, shape.num_groups, shape.state_dim) +
            score_flops(shape, shape.num_heads, shape.head_dim));
}

template <class T>
void ssd_chunk_scan_backward(const ExecutionSpace& exec, const SsdShape& shape,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved, In2<T> dy,
                             const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  const char* name = "ssd_chunk_scan_backward";
  const index_t tokens = shape.num_tokens(), heads = shape.num_heads,
                chunks = shape.batch * shape.num_chunks();
  require_operands(name, shape, in, saved);
  const auto before = checked_before<T>(name, shape, in);
  require_shape(name, "dy", dy, tokens, heads * shape.head_dim);
  require_shape(name, "dx", gradients.dx, tokens, heads * shape.head_dim);
  require_shape(name, "dssm_B", gradients.dssm_B, tokens, shape.num_groups * shape.state_dim);
  require_shape(name, "dssm_C", gradients.dssm_C, tokens, shape.num_groups * shape.state_dim);
  require_shape(name, "dssm_D", gradients.dssm_D, heads);
  launch_chunk_groups("elastic::ssd_chunk_scan_backward", exec, shape,
                      Backward<T>{shape, in, saved, before, dy, work, work.sum_of_dx(gradients),
                                  work.sum_of_dssm_B(gradients), gradients.dssm_C});
  add_chunk_sums<Accumulate<T>>("elastic::ssd_chunk_scan_skip", exec, work.of_skip, {0, 1, chunks},
                                gradients.dssm_D);
  add_flops(2 * state_flops(shape) + 3 * score_flops(shape, shape.num_groups, shape.state_dim) +
            2 * score_flops(shape, heads, shape.head_dim));
}

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void ssd_chunk_scan_forward<T>(const ExecutionSpace&, const SsdShape&,              \
                                          const SsdInputs<T>&, const SsdSaved<T>&, InOut2<T>); \
  template void ssd_chunk_scan_backward<T>(const ExecutionSpace&, const SsdShape&,             \
                                           const SsdInputs<T>&, const SsdSaved<T>&, In2<T>,    \
                                           const SsdWorkspace<T>&, const SsdGradients<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
