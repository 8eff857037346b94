// SPDX-License-Identifier: Apache-2.0
// One team for each chunk and group; the heads of the group share the packed B.
#include "kernels/scan/ssd_chunk_state.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/scan/ssd_chunk.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {

void require_ssd_shape(const char* function, const SsdShape& shape) {
  ELASTIC_REQUIRE(shape.batch > 0 && shape.seq_length > 0 && shape.num_heads > 0 &&
                      shape.head_dim > 0 && shape.num_groups > 0 && shape.state_dim > 0 &&
                      shape.chunk_size > 0,
                  "{}: extents must be positive", function);
  ELASTIC_REQUIRE(shape.num_heads % shape.num_groups == 0,
                  "{}: {} heads do not divide into {} groups", function, shape.num_heads,
                  shape.num_groups);
}

namespace {
template <class T>
struct Forward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;

  /// Pieces of team scratch.
  struct Scratch {
    int *begin, *end;
    HeadDecays<A> head;
    A *B, *x;  ///< [Q, N], [Q, P] scaled
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          B(carver.take<A>(q * padded(s.state_dim))),
          x(carver.take<A>(q * padded(s.head_dim))) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, P = shape.head_dim, N = shape.state_dim,
                  g = team.league_rank() % G;
    const Chunk chunk(shape, in.segment, team.league_rank() / G);
    const index_t ldp = padded(P), ldn = padded(N), n = chunk.tokens;
    find_runs(team, chunk, in.segment, scratch.begin, scratch.end);
    pack(team, scratch.B, &in.ssm_B(chunk.first, g * N), leading_dimension(in.ssm_B), n, N);
    for (index_t h = g; h < shape.num_heads; h += G) {
      scratch.head.load(team, chunk, scratch.begin, saved.dt, saved.dA_cumsum, h);
      pack(team, scratch.x, &in.x(chunk.first, h * P), leading_dimension(in.x), n, P);
      for_each_block(team, n, ldp, [&](const index_t j, const index_t p0) {
        const A factor = scratch.head.to_end[j] * scratch.head.delta[j];
        ELASTIC_SIMD
        for (index_t p = p0; p < p0 + lanes; ++p) scratch.x[j * ldp + p] *= factor;
      });
      A* target = &saved.states(chunk.row * shape.num_heads + h, 0);
      for_each_tile(team, P, N, [&](const index_t p, const index_t m) {
        Tile<A> tile;
        tile.multiply(scratch.x + p, ldp, scratch.B + m, ldn, scratch.begin[n - 1], n);
        tile.store(target + p * N + m, N, P - p, N - m);
      });
    }
  }
};

template <class T>
struct Backward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;
  SsdBefore before;
  SsdWorkspace<T> work;
  SsdGradients<T> gradients;
  View2<A> dx, dssm_B;  ///< sums so far
  bool goes_on;         ///< the state after the last token has a gradient

  struct Scratch {
    int *begin, *end;
    HeadDecays<A> head;
    A* Bt;        ///< [N, Q]
    A* xt;        ///< [P, Q] scaled
    A *dZ, *dZt;  ///< [P, N], [N, P]
    A* dx;        ///< [Q, P]
    A* of_decay;  ///< [P]
    A* of_step;   ///< [Q]: gradient by the exponent of to_end; then by Delta_t A
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          Bt(carver.take<A>(s.state_dim * padded(q))),
          xt(carver.take<A>(s.head_dim * padded(q))),
          dZ(carver.take<A>(s.head_dim * padded(s.state_dim))),
          dZt(carver.take<A>(s.state_dim * padded(s.head_dim))),
          dx(carver.take<A>(padded(q) * padded(s.head_dim))),
          of_decay(carver.take<A>(s.head_dim)),
          of_step(carver.take<A>(q)) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, N = shape.state_dim, g = team.league_rank() % G;
    const Chunk chunk(shape, in.segment, team.league_rank() / G, before);
    if (chunk.is_last && !goes_on) {  // nothing comes after it
      for (index_t h = g; h < shape.num_heads; h += G) round_dx(team, chunk, h);
      return round_dssm_B(team, chunk, g);
    }
    find_runs(team, chunk, in.segment, scratch.begin, scratch.end);
    pack_transposed(team, scratch.Bt, padded(rows), &in.ssm_B(chunk.first, g * N),
                    leading_dimension(in.ssm_B), chunk.tokens, N);
    for (index_t h = g; h < shape.num_heads; h += G) {
      one_head(team, scratch, chunk, g, h);
      round_dx(team, chunk, h);
    }
    round_dssm_B(team, chunk, g);
  }

 private:
  /// The chunk's part of dx by head h, and of dssm_B of group g, rounded once all is added.
  KOKKOS_INLINE_FUNCTION void round_dx(const Team& team, const Chunk& chunk, index_t h) const {
    round_columns(team, chunk, dx, gradients.dx, h * shape.head_dim, shape.head_dim);
  }
  KOKKOS_INLINE_FUNCTION void round_dssm_B(const Team& team, const Chunk& chunk, index_t g) const {
    round_columns(team, chunk, dssm_B, gradients.dssm_B, g * shape.state_dim, shape.state_dim);
  }
  KOKKOS_INLINE_FUNCTION void round_columns(const Team& team, const Chunk& chunk,
                                            const View2<A>& sums, const View2<T>& values,
                                            index_t begin, index_t count) const {
    if constexpr (!std::is_same_v<T, A>)
      for_each_row(team, chunk.tokens, [&](const index_t j) {
        const A* from = &sums(chunk.first + j, begin);
        T* to = &values(chunk.first + j, begin);
        ELASTIC_SIMD
        for (index_t c = 0; c < count; ++c) store_rounded(to[c], from[c]);
      });
  }

  KOKKOS_INLINE_FUNCTION void one_head(const Team& team, const Scratch& scratch, const Chunk& chunk,
                                       index_t g, index_t h) const {
    const index_t H = shape.num_heads, P = shape.head_dim, N = shape.state_dim, n = chunk.tokens;
    const index_t ldq = padded(rows), ldp = padded(P), ldn = padded(N),
                  begin = scratch.begin[n - 1];
    const A *delta = scratch.head.delta, *to_end = scratch.head.to_end;
    const A* dZ = &work.dstates(chunk.row * H + h, 0);
    const A* state = &saved.states(chunk.row * H + h, 0);
    scratch.head.load(team, chunk, scratch.begin, saved.dt, saved.dA_cumsum, h);
    pack(team, scratch.dZ, dZ, N, P, N);
    pack_transposed(team, scratch.dZt, ldp, scratch.dZ, ldn, P, N);
    pack_transposed(team, scratch.xt, ldq, &in.x(chunk.first, h * P), leading_dimension(in.x), n,
                    P);
    for_each_block(team, P, ldq, [&](const index_t p, const index_t j0) {
      ELASTIC_SIMD
      for (index_t j = j0; j < j0 + lanes; ++j) scratch.xt[p * ldq + j] *= to_end[j] * delta[j];
    });
    // B_j gets exp(..) Delta_j dZ^T x_j
    for_each_tile(team, n, N, [&](const index_t j, const index_t m) {
      if (j + tile_rows <= begin) return;
      Tile<A> tile;
      tile.multiply(scratch.xt + j, ldq, scratch.dZ + m, ldn, 0, P);
      tile.add_to(&dssm_B(chunk.first + j, g * N + m), leading_dimension(dssm_B), n - j, N - m);
    });
    // Delta_j x_j gets exp(..) dZ B_j
    for_each_tile(team, n, P, [&](const index_t j, const index_t p) {
      Tile<A> tile;
      tile.multiply(scratch.Bt + j, ldq, scratch.dZt + p, ldp, 0, j + tile_rows > begin ? N : 0);
      tile.scale_rows(to_end + j);
      tile.store(scratch.dx + j * ldp + p, ldp, tile_rows, lanes);
    });
    for_each_row(team, n, [&](const index_t j) {
      const T* x_row = &in.x(chunk.first + j, h * P);
      const A* gradient = scratch.dx + j * ldp;
      A* dx_row = &dx(chunk.first + j, h * P);
      const A step = delta[j];
      A dot = 0;
      ELASTIC_SIMD_SUM(dot)
      for (index_t p = 0; p < P; ++p) {
        dot += widen(x_row[p]) * gradient[p];
        dx_row[p] += step * gradient[p];
      }
      work.ddt(chunk.first + j, h) += dot;
      scratch.of_step[j] = step * dot;
    });
    // Delta_t A scales what comes in, d_k S_k, and what the positions before t add.
    const A decay = scratch.head.from_start[n - 1];
    for_each_row(team, P, [&](const index_t p) {
      A dot = 0;
      if (decay != A(0)) {
        ELASTIC_SIMD_SUM(dot)
        for (index_t m = 0; m < N; ++m) dot += state[p * N + m] * dZ[p * N + m];
      }
      scratch.of_decay[p] = dot;
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      A sum = 0;
      for (index_t p = 0; p < P; ++p) sum += scratch.of_decay[p];
      sum *= decay;
      for (index_t t = 0; t < n; ++t) {
        const A added = scratch.of_step[t];
        scratch.of_step[t] = sum;
        sum += added;
      }
    });
    team.team_barrier();
    for_each_row(team, n,
                 [&](const index_t t) { work.ddA(chunk.first + t, h) += scratch.of_step[t]; });
  }
};

template <class T>
void require_operands(const char* name, const SsdShape& shape, const SsdInputs<T>& in,
                      const SsdSaved<T>& saved) {
  require_ssd_shape(name, shape);
  require_shape(name, "x", in.x, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "ssm_B", in.ssm_B, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "dt", saved.dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", saved.dA_cumsum, shape.num_tokens(), 2 * shape.num_heads);
  require_shape_or_empty(name, "segment", in.segment, shape.num_tokens());
  require_shape(name, "states", saved.states, shape.num_states(), shape.head_dim * shape.state_dim);
}
}  // namespace

template <class T>
void ssd_chunk_state_forward(const ExecutionSpace& exec, const SsdShape& shape,
                             const SsdInputs<T>& in, const SsdSaved<T>& saved) {
  require_operands("ssd_chunk_state_forward", shape, in, saved);
  launch_chunk_groups("elastic::ssd_chunk_state_forward", exec, shape,
                      Forward<T>{shape, in, saved});
  add_flops(2.0 * shape.num_tokens() * shape.num_heads * shape.head_dim * shape.state_dim);
}

template <class T>
void ssd_chunk_state_backward(const ExecutionSpace& exec, const SsdShape& shape,
                              const SsdInputs<T>& in, const SsdSaved<T>& saved,
                              const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  const char* name = "ssd_chunk_state_backward";
  require_operands(name, shape, in, saved);
  const auto before = checked_before<T>(name, shape, in);
  const bool goes_on = gradients.dfinal_state.extent(0) != 0;
  require_shape(name, "dx", gradients.dx, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "dssm_B", gradients.dssm_B, shape.num_tokens(),
                shape.num_groups * shape.state_dim);
  launch_chunk_groups(
      "elastic::ssd_chunk_state_backward", exec, shape,
      Backward<T>{shape, in, saved, before, work, gradients, work.sum_of_dx(gradients),
                  work.sum_of_dssm_B(gradients), goes_on});
  add_flops(4.0 * shape.num_tokens() * shape.num_heads * shape.head_dim * shape.state_dim);
}

#define ELASTIC_INSTANTIATE(T)                                                       \
  template void ssd_chunk_state_forward<T>(const ExecutionSpace&, const SsdShape&,   \
                                           const SsdInputs<T>&, const SsdSaved<T>&); \
  template void ssd_chunk_state_backward<T>(const ExecutionSpace&, const SsdShape&,  \
                                            const SsdInputs<T>&, const SsdSaved<T>&, \
                                            const SsdWorkspace<T>&, const SsdGradients<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
