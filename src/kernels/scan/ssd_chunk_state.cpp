// SPDX-License-Identifier: Apache-2.0
// One team for each chunk and group; the heads of the group share the packed B.
#include "kernels/scan/ssd_chunk_state.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/scan/ssd_chunk.hpp"

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
  SsdShape shape;
  View2<const T> x, ssm_B, dt, dA_cumsum;
  View1<const token_t> segment;
  View2<T> states;

  /// Pieces of team scratch.
  struct Scratch {
    int *begin, *end;
    HeadDecays<T> head;
    T *B, *x;  ///< [Q, N], [Q, P] scaled
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          B(carver.take<T>(q * padded(s.state_dim))),
          x(carver.take<T>(q * padded(s.head_dim))) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, P = shape.head_dim, N = shape.state_dim,
                  g = team.league_rank() % G;
    const Chunk chunk(shape, segment, team.league_rank() / G);
    const index_t ldp = padded(P), ldn = padded(N), n = chunk.tokens;
    find_runs(team, chunk, segment, scratch.begin, scratch.end);
    pack(team, scratch.B, &ssm_B(chunk.first, g * N), leading_dimension(ssm_B), n, N);
    for (index_t h = g; h < shape.num_heads; h += G) {
      scratch.head.load(team, chunk, scratch.begin, dt, dA_cumsum, h);
      pack(team, scratch.x, &x(chunk.first, h * P), leading_dimension(x), n, P);
      for_each_block(team, n, ldp, [&](const index_t j, const index_t p0) {
        const T factor = scratch.head.to_end[j] * scratch.head.delta[j];
        ELASTIC_SIMD
        for (index_t p = p0; p < p0 + lanes; ++p) scratch.x[j * ldp + p] *= factor;
      });
      T* target = &states(chunk.row * shape.num_heads + h, 0);
      for_each_tile(team, P, N, [&](const index_t p, const index_t m) {
        Tile<T> tile;
        tile.multiply(scratch.x + p, ldp, scratch.B + m, ldn, scratch.begin[n - 1], n);
        tile.store(target + p * N + m, N, P - p, N - m);
      });
    }
  }
};

template <class T>
struct Backward {
  SsdShape shape;
  View2<const T> dstates, states, final_state, x, ssm_B, dt, dA_cumsum;
  View1<const token_t> segment;
  View2<T> dx, dssm_B, ddt, ddA_cumsum;

  struct Scratch {
    int *begin, *end;
    HeadDecays<T> head;
    T* Bt;        ///< [N, Q]
    T* xt;        ///< [P, Q] scaled
    T *dZ, *dZt;  ///< [P, N], [N, P]
    T* dx;        ///< [Q, P]
    T* of_decay;  ///< [P]
    KOKKOS_INLINE_FUNCTION Scratch(ScratchCarver& carver, const SsdShape& s, index_t q)
        : begin(carver.take<int>(padded(q))),
          end(carver.take<int>(padded(q))),
          head(carver, q),
          Bt(carver.take<T>(s.state_dim * padded(q))),
          xt(carver.take<T>(s.head_dim * padded(q))),
          dZ(carver.take<T>(s.head_dim * padded(s.state_dim))),
          dZt(carver.take<T>(s.state_dim * padded(s.head_dim))),
          dx(carver.take<T>(padded(q) * padded(s.head_dim))),
          of_decay(carver.take<T>(s.head_dim)) {}
  };
  index_t rows = 0, bytes = 0;
  int level = 0;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
    const Scratch scratch(carver, shape, rows);
    const index_t G = shape.num_groups, N = shape.state_dim, g = team.league_rank() % G;
    const Chunk chunk(shape, segment, team.league_rank() / G);
    if (chunk.is_last && final_state.extent(0) == 0) return;  // nothing comes after it
    find_runs(team, chunk, segment, scratch.begin, scratch.end);
    pack_transposed(team, scratch.Bt, padded(rows), &ssm_B(chunk.first, g * N),
                    leading_dimension(ssm_B), chunk.tokens, N);
    for (index_t h = g; h < shape.num_heads; h += G) one_head(team, scratch, chunk, g, h);
  }

 private:
  KOKKOS_INLINE_FUNCTION void one_head(const Team& team, const Scratch& scratch, const Chunk& chunk,
                                       index_t g, index_t h) const {
    const index_t H = shape.num_heads, P = shape.head_dim, N = shape.state_dim, n = chunk.tokens;
    const index_t ldq = padded(rows), ldp = padded(P), ldn = padded(N),
                  begin = scratch.begin[n - 1];
    const T *delta = scratch.head.delta, *to_end = scratch.head.to_end;
    const T* dZ = &dstates(chunk.row * H + h, 0);
    const T* next_state = chunk.is_last ? &final_state(chunk.first / shape.seq_length * H + h, 0)
                                        : &states((chunk.row + 1) * H + h, 0);
    scratch.head.load(team, chunk, scratch.begin, dt, dA_cumsum, h);
    pack(team, scratch.dZ, dZ, N, P, N);
    pack_transposed(team, scratch.dZt, ldp, scratch.dZ, ldn, P, N);
    pack_transposed(team, scratch.xt, ldq, &x(chunk.first, h * P), leading_dimension(x), n, P);
    for_each_block(team, P, ldq, [&](const index_t p, const index_t j0) {
      ELASTIC_SIMD
      for (index_t j = j0; j < j0 + lanes; ++j) scratch.xt[p * ldq + j] *= to_end[j] * delta[j];
    });
    // B_j gets exp(..) Delta_j dZ^T x_j
    for_each_tile(team, n, N, [&](const index_t j, const index_t m) {
      if (j + tile_rows <= begin) return;
      Tile<T> tile;
      tile.multiply(scratch.xt + j, ldq, scratch.dZ + m, ldn, 0, P);
      tile.add_to(&dssm_B(chunk.first + j, g * N + m), leading_dimension(dssm_B), n - j, N - m);
    });
    // Delta_j x_j gets exp(..) dZ B_j
    for_each_tile(team, n, P, [&](const index_t j, const index_t p) {
      Tile<T> tile;
      tile.multiply(scratch.Bt + j, ldq, scratch.dZt + p, ldp, 0, j + tile_rows > begin ? N : 0);
      tile.scale_rows(to_end + j);
      tile.store(scratch.dx + j * ldp + p, ldp, tile_rows, lanes);
    });
    for_each_row(team, n, [&](const index_t j) {
      const T *x_row = &x(chunk.first + j, h * P), *gradient = scratch.dx + j * ldp;
      T* dx_row = &dx(chunk.first + j, h * P);
      const T step = delta[j];
      T dot = 0;
      ELASTIC_SIMD_SUM(dot)
      for (index_t p = 0; p < P; ++p) {
        dot += x_row[p] * gradient[p];
        dx_row[p] += step * gradient[p];
      }
      ddt(chunk.first + j, h) += dot;
      ddA_cumsum(chunk.first + j, h) -= step * dot;
    });
    // cumsum_last scales all of S_{k+1}
    for_each_row(team, P, [&](const index_t p) {
      T dot = 0;
      ELASTIC_SIMD_SUM(dot)
      for (index_t m = 0; m < N; ++m) dot += next_state[p * N + m] * dZ[p * N + m];
      scratch.of_decay[p] = dot;
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      T sum = 0;
      for (index_t p = 0; p < P; ++p) sum += scratch.of_decay[p];
      ddA_cumsum(chunk.first + n - 1, h) += sum;
    });
    team.team_barrier();
  }
};

template <class T>
void require_inputs(const char* name, const SsdShape& shape, const View2<const T>& x,
                    const View2<const T>& ssm_B, const View2<const T>& dt,
                    const View2<const T>& dA_cumsum, const View1<const token_t>& segment) {
  require_ssd_shape(name, shape);
  require_shape(name, "x", x, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "ssm_B", ssm_B, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "dt", dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", dA_cumsum, shape.num_tokens(), shape.num_heads);
  require_shape_or_empty(name, "segment", segment, shape.num_tokens());
}
}  // namespace

template <class T>
void ssd_chunk_state_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> x,
                             In2<T> ssm_B, In2<T> dt, In2<T> dA_cumsum, In1<token_t> segment,
                             InOut2<T> states) {
  const char* name = "ssd_chunk_state_forward";
  require_inputs<T>(name, shape, x, ssm_B, dt, dA_cumsum, segment);
  require_shape(name, "states", states, shape.num_states(), shape.head_dim * shape.state_dim);
  launch_chunk_groups("elastic::ssd_chunk_state_forward", exec, shape,
                      Forward<T>{shape, x, ssm_B, dt, dA_cumsum, segment, states});
  add_flops(2.0 * shape.num_tokens() * shape.num_heads * shape.head_dim * shape.state_dim);
}

template <class T>
void ssd_chunk_state_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dstates,
                              In2<T> states, In2<T> x, In2<T> ssm_B, In2<T> dt, In2<T> dA_cumsum,
                              In1<token_t> segment, InOut2<T> dx, InOut2<T> dssm_B, InOut2<T> ddt,
                              InOut2<T> ddA_cumsum, In2<T> final_state) {
  const char* name = "ssd_chunk_state_backward";
  require_inputs<T>(name, shape, x, ssm_B, dt, dA_cumsum, segment);
  require_shape(name, "dstates", dstates, shape.num_states(), shape.head_dim * shape.state_dim);
  require_shape(name, "states", states, shape.num_states(), shape.head_dim * shape.state_dim);
  if (final_state.extent(0) != 0)
    require_shape(name, "final_state", final_state, shape.batch * shape.num_heads,
                  shape.head_dim * shape.state_dim);
  require_shape(name, "dx", dx, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "dssm_B", dssm_B, shape.num_tokens(), shape.num_groups * shape.state_dim);
  require_shape(name, "ddt", ddt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "ddA_cumsum", ddA_cumsum, shape.num_tokens(), shape.num_heads);
  launch_chunk_groups("elastic::ssd_chunk_state_backward", exec, shape,
                      Backward<T>{shape, dstates, states, final_state, x, ssm_B, dt, dA_cumsum,
                                  segment, dx, dssm_B, ddt, ddA_cumsum});
  add_flops(4.0 * shape.num_tokens() * shape.num_heads * shape.head_dim * shape.state_dim);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void ssd_chunk_state_forward<T>(const ExecutionSpace&, const SsdShape&, In2<T>, In2<T>, \
                                           In2<T>, In2<T>, In1<token_t>, InOut2<T>);               \
  template void ssd_chunk_state_backward<T>(const ExecutionSpace&, const SsdShape&, In2<T>,        \
                                            In2<T>, In2<T>, In2<T>, In2<T>, In2<T>, In1<token_t>,  \
                                            InOut2<T>, InOut2<T>, InOut2<T>, InOut2<T>, In2<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
