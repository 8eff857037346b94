// SPDX-License-Identifier: Apache-2.0
// Forward attention on a host: one team per (sequence, head, query tile) runs over the key tiles
// with an online softmax. Scores are kept transposed, [key, query], so that maxima and sums over
// keys are vector operations over queries and the probabilities are k-major for the product with v.
#include "base/region.hpp"
#include "kernels/attention/attention_batched.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/attention_tiles.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {

/// Scratch of one team.
template <class A>
struct ForwardScratch {
  A *q_transposed, *k, *v, *scores, *sum;
  A *maximum, *total, *correction;
  token_t *q_segment, *k_segment;

  KOKKOS_INLINE_FUNCTION ForwardScratch(ScratchCarver& carver, index_t head_dim) {
    const index_t C = padded(head_dim), tile = attention_tile;
    q_transposed = carver.take<A>(head_dim * tile);  // [C, query]
    k = carver.take<A>(tile * C);                    // [key, C]
    v = carver.take<A>(tile * C);                    // [key, C]
    scores = carver.take<A>(tile * tile);            // [key, query]
    sum = carver.take<A>(tile * C);                  // [query, C] unnormalised output
    maximum = carver.take<A>(tile);
    total = carver.take<A>(tile);
    correction = carver.take<A>(tile);
    q_segment = carver.take<token_t>(tile);
    k_segment = carver.take<token_t>(tile);
  }
};

template <class T>
struct ForwardTeam {
  using A = Accumulate<T>;
  AttentionShape shape;
  AttentionInputs<T> in;
  AttentionSaved<T> saved;
  TeamScratch memory;

  KOKKOS_INLINE_FUNCTION index_t query_tiles() const {
    return (shape.seq_length + attention_tile - 1) / attention_tile;
  }

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const index_t L = shape.seq_length, C = shape.head_dim, tiles = query_tiles();
    const index_t rank = team.league_rank(), head_index = rank / tiles % shape.num_heads;
    const AttentionHead head(shape, in.segment, rank / tiles / shape.num_heads, head_index);
    const index_t first = rank % tiles * attention_tile,
                  queries = math::min(attention_tile, L - first);
    const index_t begin = shape.q_begin + first;  // position of the tile
    ScratchCarver carver = memory.carver(team);
    const ForwardScratch<A> scratch(carver, C);

    const index_t row = head.first_query + first;
    pack_transposed(team, scratch.q_transposed, attention_tile, &in.q(row, head.q_column),
                    leading_dimension(in.q), queries, C);
    head.load_segments(team, begin, queries, scratch.q_segment);
    clear(team, scratch);
    for (index_t key = 0; key < begin + queries; key += attention_tile) {
      const index_t keys = math::min(attention_tile, shape.num_keys() - key);
      if (!head.interact(begin, key + keys - 1)) continue;
      pack(team, scratch.k, &in.k(head.first_key + key, head.kv_column), leading_dimension(in.k),
           keys, C);
      pack(team, scratch.v, &in.v(head.first_key + key, head.kv_column), leading_dimension(in.v),
           keys, C);
      head.load_segments(team, key, keys, scratch.k_segment);
      score(team, scratch, begin - key, keys);
      soften(team, scratch, begin - key, keys);
      add_values(team, scratch, begin - key, keys);
    }
    write(team, scratch, row, head, head_index, queries);
  }

  KOKKOS_INLINE_FUNCTION void clear(const Team& team, const ForwardScratch<A>& scratch) const {
    const index_t columns = padded(shape.head_dim);
    for_each_row(team, attention_tile, [&](index_t i) {
      scratch.maximum[i] = no_score<A>;
      scratch.total[i] = 0;
      ELASTIC_SIMD
      for (index_t c = 0; c < columns; ++c) scratch.sum[i * columns + c] = 0;
    });
  }
  /// scores[j, i] = k_j . q_i; blocks of keys behind all queries of a block are left out. `offset`
  /// is the distance from the first key to the first query of the tile.
  KOKKOS_INLINE_FUNCTION void score(const Team& team, const ForwardScratch<A>& scratch,
                                    index_t offset, index_t keys) const {
    const index_t C = shape.head_dim, ld = padded(C);
    for_each_tile(team, keys, attention_tile, [&](index_t j, index_t i) {
      if (j > i + lanes - 1 + offset) return;
      Tile<A> tile;
      multiply_rows(tile, scratch.k + j * ld, ld, scratch.q_transposed + i, attention_tile, C);
      tile.store(scratch.scores + j * attention_tile + i, attention_tile, tile_rows, lanes);
    });
  }
  /// Online softmax: scores become exp(scale s - maximum), 0 where not visible.
  KOKKOS_INLINE_FUNCTION void soften(const Team& team, const ForwardScratch<A>& scratch,
                                     index_t offset, index_t keys) const {
    constexpr index_t width = on_host ? lanes : 1;
    const A scale = attention_scale<A>(shape);
    for_each_row(team, attention_tile / width, [&](index_t block) {
      const index_t i0 = block * width;
      const auto first = static_cast<token_t>(i0 + offset);
      const token_t* const q_segment = scratch.q_segment + i0;
      const index_t end = math::min(keys, i0 / lanes * lanes + lanes + offset);
      A maximum[width], sum[width];
      ELASTIC_SIMD
      for (index_t i = 0; i < width; ++i) {
        maximum[i] = scratch.maximum[i0 + i];
        sum[i] = 0;
      }
      for (index_t j = 0; j < end; ++j) {
        const A* const s = scratch.scores + j * attention_tile + i0;
        const token_t k_segment = scratch.k_segment[j], last = static_cast<token_t>(j) - first;
        ELASTIC_SIMD
        for (index_t i = 0; i < width; ++i) {
          const bool visible = (static_cast<token_t>(i) >= last) & (q_segment[i] == k_segment);
          const A x = visible ? scale * s[i] : no_score<A>;
          maximum[i] = maximum[i] < x ? x : maximum[i];
        }
      }
      for (index_t j = 0; j < end; ++j) {
        A* const s = scratch.scores + j * attention_tile + i0;
        const token_t k_segment = scratch.k_segment[j], last = static_cast<token_t>(j) - first;
        ELASTIC_SIMD
        for (index_t i = 0; i < width; ++i) {
          const bool visible = (static_cast<token_t>(i) >= last) & (q_segment[i] == k_segment);
          const A x = scale * s[i] - maximum[i], p = vector_exp(x);
          s[i] = (!visible | (x < smallest_score<A>)) ? A(0) : p;
          sum[i] += s[i];
        }
      }
      ELASTIC_SIMD
      for (index_t i = 0; i < width; ++i) {
        const A correction = vector_exp(scratch.maximum[i0 + i] - maximum[i]);
        scratch.correction[i0 + i] = correction;
        scratch.total[i0 + i] = scratch.total[i0 + i] * correction + sum[i];
        scratch.maximum[i0 + i] = maximum[i];
      }
    });
  }
  /// sum[i, :] = correction_i sum[i, :] + sum_j p[j, i] v[j, :]
  KOKKOS_INLINE_FUNCTION void add_values(const Team& team, const ForwardScratch<A>& scratch,
                                         index_t offset, index_t keys) const {
    const index_t ld = padded(shape.head_dim);
    for_each_tile(team, attention_tile, shape.head_dim, [&](index_t i, index_t c) {
      A* const sum = scratch.sum + i * ld + c;
      Tile<A> tile;
      load(tile, sum, ld);
      tile.scale_rows(scratch.correction + i);
      tile.multiply_add(scratch.scores + i, attention_tile, scratch.v + c, ld, 0,
                        math::min(keys, i + tile_rows + offset));
      tile.store(sum, ld, tile_rows, lanes);
    });
  }
  KOKKOS_INLINE_FUNCTION void write(const Team& team, const ForwardScratch<A>& scratch, index_t row,
                                    const AttentionHead& head, index_t head_index,
                                    index_t queries) const {
    const index_t C = shape.head_dim, ld = padded(C);
    for_each_row(team, queries, [&](index_t i) {
      const A inverse = A(1) / scratch.total[i];
      const A* const sum = scratch.sum + i * ld;
      T* const o = &saved.out(row + i, head.q_column);
      ELASTIC_SIMD
      for (index_t c = 0; c < C; ++c) store_rounded(o[c], inverse * sum[c]);
      saved.lse(row + i, head_index) = scratch.maximum[i] + math::log(scratch.total[i]);
    });
  }
};

template <class T>
void forward_of_tiles(const ExecutionSpace& exec, const AttentionShape& shape,
                      const AttentionInputs<T>& in, const AttentionSaved<T>& saved) {
  ScratchCarver counter(nullptr);
  [[maybe_unused]] const ForwardScratch<Accumulate<T>> layout(counter, shape.head_dim);
  const ForwardTeam<T> body{shape, in, saved, TeamScratch(counter.bytes())};
  const index_t teams = shape.batch * shape.num_heads * body.query_tiles();
  Kokkos::parallel_for("elastic::attention_forward", body.memory.policy(exec, teams), body);
  add_flops(4 * attention_pairs(shape));
}

}  // namespace

template <class T>
void attention_forward(const Products& products, const AttentionShape& shape,
                       const AttentionInputs<T>& in, const AttentionSaved<T>& saved,
                       InOut1<Accumulate<T>> workspace) {
  const index_t tokens = shape.batch * shape.seq_length;
  require_attention_shapes<T>("attention_forward", shape, tokens, in, saved.out);
  require_shape("attention_forward", "lse", saved.lse, tokens, shape.num_heads);
  require_workspace("attention_forward", workspace, attention_forward_workspace_size<T>(shape));
  if (tokens == 0 || shape.num_heads == 0) return;
  if constexpr (on_host && std::is_same_v<T, bfloat16>)
    attention_bfloat16_forward(products.exec, shape, in, saved, workspace);
  else if constexpr (on_host)
    forward_of_tiles<T>(products.exec, shape, in, saved);
  else
    attention_batched_forward<T>(products, shape, score_blocks(shape), in, saved, workspace);
}

#define ELASTIC_INSTANTIATE(T)                                                            \
  template void attention_forward<T>(const Products&, const AttentionShape&,              \
                                     const AttentionInputs<T>&, const AttentionSaved<T>&, \
                                     InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
