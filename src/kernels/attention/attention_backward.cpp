// SPDX-License-Identifier: Apache-2.0
// Backward attention on a host: one team per (sequence, head) goes over its key tiles and, inside,
// over the query tiles that see them. No element is written by two teams, so that no atomics are
// needed.
//
//   p       = exp(scale q k^T - lse)
//   delta_i = dout_i . out_i
//   ds      = p (dout v^T - delta)
//   dv      = p^T dout
//   dk      = scale ds^T q
//   dq      = scale ds k
//
// dk and dv of each head go to the workspace and are then summed over the heads of a KV group.
#include "base/region.hpp"
#include "kernels/attention/attention_batched.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/attention_tiles.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {

/// Scratch of one team. Rows past the end of the sequence are never read as terms of a sum.
template <class A>
struct BackwardScratch {
  A *k, *k_transposed, *v_transposed, *q, *dout, *p, *ds, *dk, *dv;
  A *lse, *delta;
  token_t *q_segment, *k_segment;

  KOKKOS_INLINE_FUNCTION BackwardScratch(ScratchCarver& carver, index_t head_dim) {
    const index_t tile = attention_tile, area = tile * padded(head_dim);
    k = carver.take<A>(area);             // [key, C]
    k_transposed = carver.take<A>(area);  // [C, key]
    v_transposed = carver.take<A>(area);  // [C, key]
    q = carver.take<A>(area);             // [query, C]
    dout = carver.take<A>(area);          // [query, C]
    p = carver.take<A>(tile * tile);      // [query, key]
    ds = carver.take<A>(tile * tile);     // [query, key]
    dk = carver.take<A>(area);            // [key, C]
    dv = carver.take<A>(area);            // [key, C]
    lse = carver.take<A>(tile);
    delta = carver.take<A>(tile);
    q_segment = carver.take<token_t>(tile);
    k_segment = carver.take<token_t>(tile);
  }
};

/// A pair of tiles: the first query in its span, the first key, and how many there are of each.
struct TilePair {
  index_t query, queries, key, keys;
  index_t offset;  ///< distance from the position of the first key to that of the first query
};
/// The largest multiple of `lanes` that is not above n.
[[maybe_unused]] KOKKOS_INLINE_FUNCTION index_t floor_to_lanes(index_t n) {
  return n >= 0 ? n / lanes * lanes : -((-n + lanes - 1) / lanes * lanes);
}

template <class T>
struct BackwardTeam {
  using A = Accumulate<T>;
  AttentionShape shape;
  AttentionInputs<T> in;
  AttentionSaved<T> saved;
  View2<const T> dout;
  View2<T> dq;
  View2<A> dk_heads, dv_heads;  ///< [B*L', A*C]
  View2<A> deltas;              ///< [A, B*L]
  TeamScratch memory;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const index_t L = shape.seq_length, C = shape.head_dim;
    const index_t head_index = team.league_rank() % shape.num_heads;
    const AttentionHead head(shape, in.segment, team.league_rank() / shape.num_heads, head_index);
    ScratchCarver carver = memory.carver(team);
    const BackwardScratch<A> scratch(carver, C);
    const index_t row = head.first_key, all_keys = shape.num_keys();
    prepare(team, head, head_index);
    for (index_t key = 0; key < all_keys; key += attention_tile) {
      const index_t keys = math::min(attention_tile, all_keys - key);
      const T *const k0 = &in.k(row + key, head.kv_column), *const v0 =
                                                                &in.v(row + key, head.kv_column);
      pack(team, scratch.k, k0, leading_dimension(in.k), keys, C);
      pack_transposed(team, scratch.k_transposed, attention_tile, k0, leading_dimension(in.k), keys,
                      C);
      pack_transposed(team, scratch.v_transposed, attention_tile, v0, leading_dimension(in.v), keys,
                      C);
      head.load_segments(team, key, keys, scratch.k_segment);
      for_each_row(team, attention_tile * padded(C), [&](index_t i) {
        scratch.dk[i] = 0;
        scratch.dv[i] = 0;
      });
      const index_t first = math::max(index_t(0), key - shape.q_begin);
      for (index_t query = first / attention_tile * attention_tile; query < L;
           query += attention_tile) {
        const index_t position = shape.q_begin + query;
        if (!head.interact(position, key + keys - 1)) break;
        const TilePair pair{query, math::min(attention_tile, L - query), key, keys, position - key};
        load_queries(team, scratch, head, head_index, pair);
        probabilities(team, scratch, pair);
        add_key_gradients(team, scratch, pair);
        add_query_gradients(team, scratch, head, pair);
      }
      for_each_row(team, keys, [&](index_t j) {
        A* const dk_row = &dk_heads(row + key + j, head.q_column);
        A* const dv_row = &dv_heads(row + key + j, head.q_column);
        ELASTIC_SIMD
        for (index_t c = 0; c < C; ++c) {
          dk_row[c] = scratch.dk[j * padded(C) + c];
          dv_row[c] = scratch.dv[j * padded(C) + c];
        }
      });
    }
  }

  /// delta_i = dout_i . out_i and dq = 0 for all positions.
  KOKKOS_INLINE_FUNCTION void prepare(const Team& team, const AttentionHead& head,
                                      index_t head_index) const {
    const index_t C = shape.head_dim;
    for_each_row(team, shape.seq_length, [&](index_t i) {
      const index_t row = head.first_query + i;
      const T *const d = &dout(row, head.q_column), *const o = &saved.out(row, head.q_column);
      A* const dq_row = &dq(row, head.q_column);
      A sum = 0;
      ELASTIC_SIMD_SUM(sum)
      for (index_t c = 0; c < C; ++c) sum += widen(d[c]) * widen(o[c]);
      ELASTIC_SIMD
      for (index_t c = 0; c < C; ++c) dq_row[c] = A(0);
      deltas(head_index, row) = sum;
    });
  }
  KOKKOS_INLINE_FUNCTION void load_queries(const Team& team, const BackwardScratch<A>& scratch,
                                           const AttentionHead& head, index_t head_index,
                                           const TilePair& pair) const {
    const index_t row = head.first_query + pair.query;
    pack(team, scratch.q, &in.q(row, head.q_column), leading_dimension(in.q), pair.queries,
         shape.head_dim);
    pack(team, scratch.dout, &dout(row, head.q_column), leading_dimension(dout), pair.queries,
         shape.head_dim);
    head.load_segments(team, shape.q_begin + pair.query, pair.queries, scratch.q_segment);
    for_each_row(team, pair.queries, [&](index_t i) {
      scratch.lse[i] = saved.lse(row + i, head_index);
      scratch.delta[i] = deltas(head_index, row + i);
    });
  }
  /// p [query, key] and ds = scale p (dout v^T - delta); 0 where not visible.
  KOKKOS_INLINE_FUNCTION void probabilities(const Team& team, const BackwardScratch<A>& scratch,
                                            const TilePair& pair) const {
    const index_t C = shape.head_dim, ld = padded(C);
    const A scale = attention_scale<A>(shape);
    for_each_tile(team, pair.queries, attention_tile, [&](index_t i0, index_t j0) {
      const index_t offset = pair.offset + i0 - j0;
      if (i0 + tile_rows <= floor_to_lanes(j0 - pair.offset)) return;
      Tile<A> s, dp;
      multiply_rows(s, scratch.q + i0 * ld, ld, scratch.k_transposed + j0, attention_tile, C);
      multiply_rows(dp, scratch.dout + i0 * ld, ld, scratch.v_transposed + j0, attention_tile, C);
      for (index_t i = 0; i < tile_rows; ++i) {
        const token_t q_segment = scratch.q_segment[i0 + i],
                      last = static_cast<token_t>(offset + i);
        const token_t* const k_segment = scratch.k_segment + j0;
        const A lse_i = scratch.lse[i0 + i], delta_i = scratch.delta[i0 + i];
        A* const p = scratch.p + (i0 + i) * attention_tile + j0;
        A* const ds = scratch.ds + (i0 + i) * attention_tile + j0;
        ELASTIC_SIMD
        for (index_t j = 0; j < lanes; ++j) {
          const A x = scale * s.value[i][j] - lse_i;
          const bool visible = (static_cast<token_t>(j) <= last) & (k_segment[j] == q_segment);
          const bool counts = visible & !(x < smallest_score<A>);
          const A e = vector_exp(x);
          p[j] = counts ? e : A(0);
          ds[j] = counts ? scale * e * (dp.value[i][j] - delta_i) : A(0);
        }
      }
    });
  }
  /// dv += p^T dout, dk += ds^T q; queries ahead of all keys of a block are left out.
  KOKKOS_INLINE_FUNCTION void add_key_gradients(const Team& team, const BackwardScratch<A>& scratch,
                                                const TilePair& pair) const {
    const index_t C = shape.head_dim, ld = padded(C);
    for_each_tile(team, pair.keys, C, [&](index_t j, index_t c) {
      const index_t first = math::max(index_t(0), floor_to_lanes(j - pair.offset));
      Tile<A> tile;
      load(tile, scratch.dv + j * ld + c, ld);
      tile.multiply_add(scratch.p + j, attention_tile, scratch.dout + c, ld, first, pair.queries);
      tile.store(scratch.dv + j * ld + c, ld, tile_rows, lanes);
      load(tile, scratch.dk + j * ld + c, ld);
      tile.multiply_add(scratch.ds + j, attention_tile, scratch.q + c, ld, first, pair.queries);
      tile.store(scratch.dk + j * ld + c, ld, tile_rows, lanes);
    });
  }
  /// dq += ds k; keys behind all queries of a block are left out.
  KOKKOS_INLINE_FUNCTION void add_query_gradients(const Team& team,
                                                  const BackwardScratch<A>& scratch,
                                                  const AttentionHead& head,
                                                  const TilePair& pair) const {
    const index_t C = shape.head_dim, ld = padded(C);
    for_each_tile(team, pair.queries, C, [&](index_t i, index_t c) {
      const index_t end = math::min(pair.keys, i + tile_rows + pair.offset);
      Tile<A> tile;
      multiply_rows(tile, scratch.ds + i * attention_tile, attention_tile, scratch.k + c, ld, end);
      tile.add_to(&dq(head.first_query + pair.query + i, head.q_column + c), leading_dimension(dq),
                  pair.queries - i, C - c);
    });
  }
};

/// target [T, R*C] = sum over the A/R blocks of R*C columns of heads [T, A*C], in order.
template <class T>
void sum_heads(const ExecutionSpace& exec, View2<const Accumulate<T>> heads,
               const View2<T>& target) {
  const auto columns = static_cast<index_t>(target.extent(1));
  const auto blocks = static_cast<index_t>(heads.extent(1)) / columns;
  Kokkos::parallel_for(
      "elastic::attention_sum_heads",
      Kokkos::RangePolicy<ExecutionSpace>(exec, 0, target.extent(0)),
      KOKKOS_LAMBDA(const index_t t) {
        const Accumulate<T>* const from = &heads(t, 0);
        for (index_t first = 0; first < columns; first += lanes) {
          const index_t count = math::min(lanes, columns - first);
          Accumulate<T> sum[lanes];
          for (index_t c = 0; c < count; ++c) sum[c] = from[first + c];
          for (index_t block = 1; block < blocks; ++block)
            for (index_t c = 0; c < count; ++c) sum[c] += from[block * columns + first + c];
          for (index_t c = 0; c < count; ++c) store_rounded(target(t, first + c), sum[c]);
        }
      });
}

template <class T, class K>
void backward_of_tiles(const ExecutionSpace& exec, const AttentionShape& shape,
                       const AttentionInputs<T>& in, const AttentionSaved<T>& saved,
                       const View2<const T>& dout, const AttentionGradients<T, K>& gradients,
                       const View1<Accumulate<T>>& workspace) {
  const index_t A = shape.num_heads, C = shape.head_dim;
  const index_t tokens = shape.batch * shape.seq_length, keys = shape.batch * shape.num_keys();
  const auto& [dq, dk, dv] = gradients;
  Accumulate<T>* const base = workspace.data();
  const View2<Accumulate<T>> dk_heads(base, keys, A * C),
      dv_heads(base + keys * A * C, keys, A * C);
  const View2<Accumulate<T>> deltas(base + 2 * keys * A * C, A, tokens);
  ScratchCarver counter(nullptr);
  [[maybe_unused]] const BackwardScratch<Accumulate<T>> layout(counter, C);
  const BackwardTeam<T> body{
      shape, in, saved, dout, dq, dk_heads, dv_heads, deltas, TeamScratch(counter.bytes())};
  Kokkos::parallel_for("elastic::attention_backward", body.memory.policy(exec, shape.batch * A),
                       body);
  sum_heads<K>(exec, dk_heads, dk);
  sum_heads<K>(exec, dv_heads, dv);
  add_flops(10 * attention_pairs(shape));
}

}  // namespace

template <class T, class K>
void attention_backward(const Products& products, const AttentionShape& shape,
                        const AttentionInputs<T>& in, const AttentionSaved<T>& saved, In2<T> dout,
                        const AttentionGradients<T, K>& gradients,
                        InOut1<Accumulate<T>> workspace) {
  constexpr auto name = "attention_backward";
  const index_t tokens = shape.batch * shape.seq_length, A = shape.num_heads, C = shape.head_dim;
  const index_t keys = shape.batch * shape.num_keys();
  const auto& [dq, dk, dv] = gradients;
  require_attention_shapes<T>(name, shape, tokens, in, saved.out);
  require_shape(name, "lse", saved.lse, tokens, A);
  require_shape(name, "dout", dout, tokens, A * C);
  require_shape(name, "dq", dq, tokens, A * C);
  require_shape(name, "dk", dk, keys, shape.num_groups * C);
  require_shape(name, "dv", dv, keys, shape.num_groups * C);
  require_workspace(name, workspace, attention_workspace_size<T>(shape));
  if (tokens == 0 || A == 0) return;
  if constexpr (on_host && std::is_same_v<T, bfloat16>)
    attention_bfloat16_backward<K>(products.exec, shape, in, saved, dout, gradients, workspace);
  else if constexpr (on_host)
    backward_of_tiles<T, K>(products.exec, shape, in, saved, dout, gradients, workspace);
  else
    attention_batched_backward<T, K>(products, shape, score_blocks(shape), in, saved, dout,
                                     gradients, workspace);
}

#define ELASTIC_INSTANTIATE(T, K)                                                                  \
  template void attention_backward<T, K>(                                                          \
      const Products&, const AttentionShape&, const AttentionInputs<T>&, const AttentionSaved<T>&, \
      In2<T>, const AttentionGradients<T, K>&, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
