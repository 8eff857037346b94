// SPDX-License-Identifier: Apache-2.0
// Gradients of the outputs by batched products. In a chunk and head, weights_ij without D are
// E_ij (C_i . B_j) Delta_j with E_ij = exp(cumsum_i - cumsum_j), and
//
//   pair_ij = (dy_i . x_j) E_ij (C_i . B_j)
//
// summed over i is the gradient by Delta_j. That by Delta_t A is the sum of pair_ij Delta_j over
// i >= t > j, added up as it is: as a difference of sums over rows and columns it would cancel.
#include "kernels/scan/ssd_batched_buffers.hpp"

namespace elastic::kernels {
namespace {
/// A row (chunk, head, channel): S as T.
template <class T>
struct NarrowStates : BatchKernel {
  View2<const Accumulate<T>> states;
  T* target;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_head(row, heads, shape.head_dim);
    const index_t N = shape.state_dim;
    const auto* from =
        &states(batch.chunk_row(at.chunk) * shape.num_heads + head(at.head_of_group), at.item * N);
    for_lanes(team, N, [&](const index_t m) { target[row * N + m] = static_cast<T>(from[m]); });
  }
};

/// Sums over the columns of a tile, one for each of its rows.
template <class A>
struct TileSums {
  A of_row[pair_rows];
};
template <class A>
struct TileSum {
  using reducer = TileSum;
  using value_type = TileSums<A>;
  using result_view_type =
      Kokkos::View<value_type, MemorySpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
  value_type* value;

  KOKKOS_INLINE_FUNCTION void join(value_type& to, const value_type& from) const {
    for (index_t a = 0; a < pair_rows; ++a) to.of_row[a] += from.of_row[a];
  }
  KOKKOS_INLINE_FUNCTION void init(value_type& to) const {
    for (index_t a = 0; a < pair_rows; ++a) to.of_row[a] = A(0);
  }
  KOKKOS_INLINE_FUNCTION value_type& reference() const { return *value; }
  KOKKOS_INLINE_FUNCTION result_view_type view() const { return result_view_type(value); }
  KOKKOS_INLINE_FUNCTION bool references_scalar() const { return true; }
};

/// Tiles (chunk, rows i, columns j): weights of each head, dscores, and the sums of pairs that the
/// tile contributes. head_shares threads of a team share out the heads of a tile.
template <class T>
struct Pairs : BatchKernel {
  using A = Accumulate<T>;
  View1<const A> ssm_D;
  OutputGradientBuffers<T> buffers;

  static constexpr index_t head_shares = 4, team_tiles = row_threads / head_shares;

  /// A thread's, and there its lanes': scores of the tile, its part of dscores, and which count.
  struct Scratch {
    A scores[pair_rows][pair_columns], dscores[pair_rows][pair_columns];
    int visible[pair_columns];
  };
  KOKKOS_INLINE_FUNCTION static constexpr index_t bytes() {
    return row_threads * static_cast<index_t>(sizeof(Scratch));
  }
  KOKKOS_INLINE_FUNCTION index_t num_tiles() const {
    return batch.count * tiles(batch.tokens, pair_rows) * tiles(batch.tokens, pair_columns);
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    auto* const scratch =
        static_cast<Scratch*>(team.team_scratch(0).get_shmem_aligned(bytes(), 64));
    const index_t first = team.league_rank() * index_t{team_tiles},
                  count = math::min(index_t{team_tiles}, num_tiles() - first);
    for_each_row(team, count * head_shares, [&](const index_t thread) {
      const PairTile tile(*this, first + thread / head_shares);
      if (!tile.is_above) share_heads(team, scratch[thread], tile, thread % head_shares);
    });
    for_each_row(team, count * head_shares, [&](const index_t thread) {
      const index_t of_team = thread / head_shares;
      const PairTile tile(*this, first + of_team);
      if (tile.is_above)
        clear_tile(team, tile, thread % head_shares);
      else
        store_dscores(team, scratch + of_team * head_shares, tile, thread % head_shares);
    });
  }

 private:
  struct PairTile {
    index_t c, i0, j0, rows, columns;
    bool is_above;  ///< all columns lie behind the rows: nothing counts

    KOKKOS_INLINE_FUNCTION PairTile(const Pairs& pairs, index_t tile) {
      const index_t n = pairs.batch.tokens;
      const auto at = BatchRow::by_head(tile, tiles(n, pair_rows), tiles(n, pair_columns));
      c = at.chunk;
      i0 = at.head_of_group * pair_rows;
      j0 = at.item * pair_columns;
      rows = math::min(pair_rows, n - i0);
      columns = math::min(pair_columns, n - j0);
      is_above = j0 >= i0 + pair_rows;
    }
  };

  KOKKOS_INLINE_FUNCTION void clear_tile(const Team& team, const PairTile& tile,
                                         index_t share) const {
    for_lanes(team, tile.columns, [&](const index_t lane) {
      for (index_t a = 0; a < tile.rows; ++a) {
        const index_t i = tile.i0 + a, j = tile.j0 + lane;
        if (share == 0) buffers.dscores[(tile.c * rows + i) * rows + j] = T(A(0));
        for (index_t r = share; r < heads; r += head_shares)
          buffers.weights[((tile.c * heads + r) * rows + i) * rows + j] = T(A(0));
      }
    });
  }

  KOKKOS_INLINE_FUNCTION void share_heads(const Team& team, Scratch& scratch, const PairTile& tile,
                                          index_t share) const {
    const int* run = buffers.factors.run + batch.first_token(tile.c);
    for_lanes(team, tile.columns, [&](const index_t lane) {
      const index_t j = tile.j0 + lane;
      int visible = 0;
      for (index_t a = 0; a < tile.rows; ++a) {
        const index_t i = tile.i0 + a;
        scratch.scores[a][lane] = buffers.scores[(tile.c * rows + i) * rows + j];
        scratch.dscores[a][lane] = A(0);
        if (j <= i && run[j] == run[i]) visible |= 1 << a;
      }
      scratch.visible[lane] = visible;
    });
    for (index_t r = share; r < heads; r += head_shares) one_head(team, scratch, tile, r);
  }

  /// The parts of all shares, in their order; each thread stores some of the rows.
  KOKKOS_INLINE_FUNCTION void store_dscores(const Team& team, const Scratch* parts,
                                            const PairTile& tile, index_t share) const {
    for (index_t a = share; a < tile.rows; a += head_shares)
      for_lanes(team, tile.columns, [&](const index_t lane) {
        A sum = 0;
        for (index_t part = 0; part < head_shares; ++part) sum += parts[part].dscores[a][lane];
        buffers.dscores[(tile.c * rows + tile.i0 + a) * rows + tile.j0 + lane] =
            static_cast<T>(sum);
      });
  }

  /// Rows from the last to the first: a column's sum so far reaches from row i on.
  KOKKOS_INLINE_FUNCTION void one_head(const Team& team, Scratch& scratch, const PairTile& tile,
                                       index_t r) const {
    const index_t i0 = tile.i0, j0 = tile.j0, columns = tile.columns, count = tile.rows,
                  h = head(r), of_chunk = tile.c * heads + r,
                  of_head = h * buffers.factors.tokens + batch.first_token(tile.c);
    const A *high = buffers.factors.high + of_head, *low = buffers.factors.low + of_head,
            *delta = buffers.factors.delta + of_head,
            *dweights = buffers.dweights + (of_chunk * rows + i0) * rows + j0;
    T* weights = buffers.weights + (of_chunk * rows + i0) * rows + j0;
    const A skip = ssm_D(h);
    TileSums<A> corners;
    Kokkos::parallel_reduce(
        Kokkos::ThreadVectorRange(team, columns),
        [&](const index_t lane, TileSums<A>& sums) {
          const index_t j = j0 + lane;
          const A of_high = high[j], of_low = low[j], step = delta[j];
          const int visible = scratch.visible[lane];
          A column = 0;
          for (index_t a = pair_rows; a-- > 0;) {
            if (a >= count) continue;
            const index_t i = i0 + a;
            const A exponent = (high[i] - of_high) + (low[i] - of_low);
            const bool sees = (visible >> a & 1) != 0 && exponent >= smallest_exponent<A>;
            const A decay = sees ? vector_exp(exponent) : A(0), score = scratch.scores[a][lane],
                    upstream = dweights[a * rows + lane], gradient = sees ? upstream * decay : A(0);
            scratch.dscores[a][lane] += gradient * step;
            column += sees ? gradient * score : A(0);
            const A weight = sees ? score * decay * step : A(0);
            weights[a * rows + lane] = static_cast<T>(i == j ? weight + skip : weight);
            if (i == j) buffers.of_skip[of_chunk * rows + i] = upstream;
            if (j < i) sums.of_row[a] += column * step;
          }
          buffers.column_sums[(of_chunk * tiles(rows, pair_rows) + i0 / pair_rows) * rows + j] =
              column;
        },
        TileSum<A>{&corners});
    A* target = buffers.corner_sums +
                (of_chunk * tiles(rows, pair_columns) + j0 / pair_columns) * rows + i0;
    Kokkos::single(Kokkos::PerThread(team), [&]() {
      for (index_t a = 0; a < count; ++a) target[a] = corners.of_row[a];
    });
  }
};

/// A row (chunk, token, head): from_start dy, and its product with S C.
template <class T>
struct ScaleGradients : BatchKernel {
  using A = Accumulate<T>;
  View2<const T> dy;
  OutputGradientBuffers<T> buffers;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_item(row, heads, batch.tokens);
    const index_t P = shape.head_dim, t = batch.first_token(at.chunk) + at.item,
                  h = head(at.head_of_group),
                  begin = (at.chunk * rows + at.item) * channels() + at.head_of_group * P;
    const A from_start = buffers.factors.from_start[h * buffers.factors.tokens + t];
    const A* output = buffers.state_outputs + begin;
    T* target = buffers.scaled_dy + begin;
    const A dot = sum_of_lanes<A>(team, P, [&](const index_t p) {
      const A gradient = from_start * widen(dy(t, h * P + p));
      target[p] = static_cast<T>(gradient);
      return gradient * output[p];
    });
    Kokkos::single(Kokkos::PerThread(team), [&]() {
      buffers.of_state[(at.chunk * heads + at.head_of_group) * rows + at.item] = dot;
    });
  }
};

/// A team (chunk, head): the gradients by Delta_t, by Delta_t A and by D from the sums of tiles.
template <class T>
struct FinishPairs : BatchKernel {
  using A = Accumulate<T>;
  OutputGradientBuffers<T> buffers;
  View2<A> ddt, ddA, of_skip;
  int level = 0;

  index_t bytes() const { return tiles(rows, pair_rows) * rows * static_cast<index_t>(sizeof(A)); }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t n = batch.tokens, of_chunk = team.league_rank(), c = of_chunk / heads,
                  h = head(of_chunk % heads), first = batch.first_token(c),
                  down = tiles(rows, pair_rows), used = tiles(n, pair_rows);
    // [Q/8, Q] pairs Delta_j of column j in the rows below those of a tile.
    A* const below = static_cast<A*>(team.team_scratch(level).get_shmem_aligned(
        down * rows * static_cast<index_t>(sizeof(A)), 64));
    const A *columns = buffers.column_sums + of_chunk * down * rows,
            *delta = buffers.factors.delta + h * buffers.factors.tokens + first;
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, n), [&](const index_t j) {
      A sum = 0;
      for (index_t tile = used; tile-- > j / pair_rows;) {
        below[tile * rows + j] = sum * delta[j];
        sum += columns[tile * rows + j];
      }
      ddt(first + j, h) = sum;
    });
    team.team_barrier();
    const A* corners = buffers.corner_sums + of_chunk * tiles(rows, pair_columns) * rows;
    const A* of_state = buffers.of_state + of_chunk * rows;
    for_each_row(team, n, [&](const index_t t) {
      const A sum = sum_of_lanes<A>(team, n, [&](const index_t k) {
        const A corner = k * pair_columns < t ? corners[k * rows + t] : A(0);
        return corner + (k < t ? below[t / pair_rows * rows + k] : of_state[k]);
      });
      Kokkos::single(Kokkos::PerThread(team), [&]() { ddA(first + t, h) = sum; });
    });
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, 1), [&](const index_t) {
      const A* skip = buffers.of_skip + of_chunk * rows;
      const A sum = sum_of_lanes<A>(team, n, [&](const index_t i) { return skip[i]; });
      Kokkos::single(Kokkos::PerThread(team), [&]() { of_skip(batch.chunk_row(c), h) = sum; });
    });
  }
};

/// A row (chunk, token): dC of the group, rounded.
template <class T>
struct RoundGradient : BatchKernel {
  const Accumulate<T>* dC;
  View2<T> target;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const index_t N = shape.state_dim, c = row / batch.tokens, i = row % batch.tokens;
    for_lanes(team, N, [&](const index_t m) {
      target(batch.first_token(c) + i, batch.group * N + m) =
          static_cast<T>(dC[(c * rows + i) * N + m]);
    });
  }
};

template <class Kernel>
void launch_teams(const char* label, const ExecutionSpace& exec, index_t teams, index_t bytes,
                  int level, const Kernel& kernel) {
  auto policy = device_teams(exec, teams, row_threads);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(label, policy, kernel);
}

/// The steps of one batch.
template <class T>
struct Backward {
  using A = Accumulate<T>;
  const Products& products;
  const SsdShape& shape;
  const SsdInputs<T>& in;
  const SsdSaved<T>& saved;
  View2<const T> dy;
  const SsdWorkspace<T>& work;
  const SsdGradients<T>& gradients;
  OutputGradientBuffers<T> buffers;
  BatchExtents e;

  void operator()(const ChunkBatch& batch) const {
    through_weights(batch);
    through_states(batch);
    const index_t per_head = batch.count * e.group_heads;
    FinishPairs<T> finish{{shape, batch}, buffers, work.ddt, work.ddA, work.of_skip};
    finish.level = scratch_level(finish.bytes());
    launch_teams("elastic::ssd_finish_pairs", products.exec, per_head, finish.bytes(), finish.level,
                 finish);
    for_rows_in_teams("elastic::ssd_round_dC", products.exec, batch.count * batch.tokens,
                      RoundGradient<T>{{shape, batch}, buffers.dC, gradients.dssm_C});
  }

 private:
  void through_weights(const ChunkBatch& batch) const {
    const index_t P = shape.head_dim, N = shape.state_dim, n = batch.tokens, q = e.rows,
                  heads = e.group_heads, step = shape.num_groups * P, column = batch.group * N;
    const BatchCount chunks{batch.count, 1}, all{batch.count, heads};
    const BatchStride pairs{heads * q * q, q * q};
    const auto B = chunks_of(in.ssm_B, batch, column, N), C = chunks_of(in.ssm_C, batch, column, N);
    const auto upstream = chunks_of(dy, batch, batch.group * P, P, step);
    gemm_batched<T, A>(products, chunks, Transpose::no, Transpose::yes, C, B, 0,
                       batch_of(buffers.scores, n, n, q, {q * q, 0}));
    gemm_batched<T, A>(products, all, Transpose::no, Transpose::yes, upstream,
                       chunks_of(in.x, batch, batch.group * P, P, step), 0,
                       batch_of(buffers.dweights, n, n, q, pairs));
    const Pairs<T> kernel{{shape, batch}, in.ssm_D, buffers};
    launch_teams("elastic::ssd_pairs", products.exec,
                 tiles(kernel.num_tiles(), Pairs<T>::team_tiles), Pairs<T>::bytes(), 0, kernel);
    gemm_batched<T, A>(products, all, Transpose::yes, Transpose::no,
                       batch_of<const T>(buffers.weights, n, n, q, pairs), upstream, 0,
                       chunks_of(work.sum_of_dx(gradients), batch, batch.group * P, P, step));
    const auto dscores = batch_of<const T>(buffers.dscores, n, n, q, {q * q, 0});
    gemm_batched<T, A>(products, chunks, Transpose::yes, Transpose::no, dscores, C, 0,
                       chunks_of(work.sum_of_dssm_B(gradients), batch, column, N));
    gemm_batched<T, A>(products, chunks, Transpose::no, Transpose::no, dscores, B, 0,
                       batch_of(buffers.dC, n, N, N, {q * N, 0}));
  }

  void through_states(const ChunkBatch& batch) const {
    const index_t P = shape.head_dim, N = shape.state_dim, n = batch.tokens, q = e.rows,
                  heads = e.group_heads, width = e.channels();
    const BatchCount chunks{batch.count, 1};
    const auto C = chunks_of(in.ssm_C, batch, batch.group * N, N);
    const BatchStride of_chunk{q * width, 0};
    for_rows_in_teams("elastic::ssd_narrow_states", products.exec, batch.count * width,
                      NarrowStates<T>{{shape, batch}, saved.states, buffers.states});
    const auto states = batch_of<const T>(buffers.states, width, N, N, {width * N, 0});
    gemm_batched<T, A>(products, chunks, Transpose::no, Transpose::yes, C, states, 0,
                       batch_of(buffers.state_outputs, n, width, width, of_chunk));
    for_rows_in_teams("elastic::ssd_scale_gradients", products.exec, batch.count * heads * n,
                      ScaleGradients<T>{{shape, batch}, dy, buffers});
    gemm_batched<T, A>(products, chunks, Transpose::no, Transpose::no,
                       batch_of<const T>(buffers.scaled_dy, n, width, width, of_chunk), states, 1,
                       batch_of(buffers.dC, n, N, N, {q * N, 0}));
    gemm_batched<T, A>(products, {batch.count, heads}, Transpose::yes, Transpose::no,
                       batch_of<const T>(buffers.scaled_dy, n, P, width, {q * width, P}), C, 0,
                       states_of(work.dstates, shape, batch));
  }
};
}  // namespace

template <class T>
void ssd_products_scan_backward(const Products& products, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved, In2<T> dy,
                                const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  const char* name = "ssd_products_scan_backward";
  const index_t tokens = shape.num_tokens(), heads = shape.num_heads,
                group_states = shape.num_groups * shape.state_dim,
                chunks = shape.batch * shape.num_chunks();
  require_chunk_operands(name, shape, in, saved);
  require_shape(name, "ssm_C", in.ssm_C, tokens, group_states);
  require_shape(name, "ssm_D", in.ssm_D, heads);
  require_shape(name, "dy", dy, tokens, heads * shape.head_dim);
  require_shape(name, "dx", gradients.dx, tokens, heads * shape.head_dim);
  require_shape(name, "dssm_B", gradients.dssm_B, tokens, group_states);
  require_shape(name, "dssm_C", gradients.dssm_C, tokens, group_states);
  require_shape(name, "dssm_D", gradients.dssm_D, heads);
  const auto before = checked_before<T>(name, shape, in);
  ScratchCarver carver(
      aligned_memory(name, work.for_products, ssd_products_backward_size<T>(shape)));
  const OutputGradientBuffers<T> buffers(carver, shape);
  spread_factors<T>(products.exec, shape, in, saved, before, buffers.factors);
  for_each_batch(shape, Backward<T>{products, shape, in, saved, dy, work, gradients, buffers,
                                    BatchExtents(shape)});
  add_chunk_sums<Accumulate<T>>("elastic::ssd_chunk_scan_skip", products.exec, work.of_skip,
                                {0, 1, chunks}, gradients.dssm_D);
}

template <class T>
index_t ssd_products_backward_size(const SsdShape& shape) {
  using A = Accumulate<T>;
  return math::max(elements_of<OutputGradientBuffers<T>, A>(shape),
                   elements_of<StateGradientBuffers<T>, A>(shape));
}

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void ssd_products_scan_backward<T>(const Products&, const SsdShape&,                \
                                              const SsdInputs<T>&, const SsdSaved<T>&, In2<T>, \
                                              const SsdWorkspace<T>&, const SsdGradients<T>&); \
  template index_t ssd_products_backward_size<T>(const SsdShape&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
