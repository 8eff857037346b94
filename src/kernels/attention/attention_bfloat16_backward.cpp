// SPDX-License-Identifier: Apache-2.0
// One team per (sequence, head) goes over the tiles of keys and, inside, over the tiles of queries
// that see them, as in attention_backward.cpp:
//
//   S = q k^T,  dP = dout v^T                                [query, key], 32 queries at a time
//   P = exp(scale S - lse),  dS = P (dP - delta)             rounded to bfloat16
//   dV^T [C, key] += dout^T P,  dK^T += q^T dS               P and dS as pairs of queries
//   dQ [query, C] += dS k                                    dS in rows
//
// What a product takes transposed, dout^T and q^T, is packed once per head. dQ, dK^T and dV^T are
// kept in the workspace as tiles, in fp32 and without the factor `scale`; at the end they are
// summed over the heads of a KV group, transposed and rounded.
#if !defined(__CUDACC__) && !defined(__HIPCC__)
#include <cstring>

#include "base/region.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/lanes.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t strip = Bfloat16Tiles::strip, tile_keys = Bfloat16Tiles::keys,
                  tile_queries = Bfloat16Tiles::queries;

/// What the workspace holds of one head (Bfloat16Tiles::floats_of_head).
struct HeadMemory {
  bfloat16 *q, *dout;  ///< [C, query] of each tile of queries
  float* dq;           ///< [query, C], all queries
  float *lse, *delta;  ///< all queries; lse in powers of two
  float *dk, *dv;      ///< [C, key] of each tile of keys

  HeadMemory(const Bfloat16Tiles& tiles, float* base, index_t head) {
    const index_t queries = tiles.query_tiles * tile_queries;
    float* at = base + head * tiles.floats_of_head();
    const auto take = [&](index_t count) { return std::exchange(at, at + count); };
    q = reinterpret_cast<bfloat16*>(take(queries * tiles.rows / 2));
    dout = reinterpret_cast<bfloat16*>(take(queries * tiles.rows / 2));
    dq = take(queries * tiles.rows);
    dk = take(tiles.key_tiles * tile_keys * tiles.rows);
    dv = take(tiles.key_tiles * tile_keys * tiles.rows);
    lse = take(queries);
    delta = take(queries);
  }
};

/// Scratch of one team.
struct BackwardScratch {
  bfloat16 *k, *v, *k_rows;    // pairs of channels [depth / 2, key, 2]; of keys [key / 2, C, 2]
  bfloat16 *q, *dout;          // [query, depth]
  bfloat16 *p, *ds, *ds_rows;  // pairs of queries [query / 2, key, 2]; rows [strip, key]
  float *scores, *dp;          // [strip, key]
  token_t *q_segment, *k_segment;

  BackwardScratch(ScratchCarver& carver, const Bfloat16Tiles& tiles) {
    k = carver.take<bfloat16>(tile_keys * tiles.depth);
    v = carver.take<bfloat16>(tile_keys * tiles.depth);
    k_rows = carver.take<bfloat16>(tile_keys * tiles.rows);
    q = carver.take<bfloat16>(tile_queries * tiles.depth);
    dout = carver.take<bfloat16>(tile_queries * tiles.depth);
    p = carver.take<bfloat16>(tile_queries * tile_keys);
    ds = carver.take<bfloat16>(tile_queries * tile_keys);
    ds_rows = carver.take<bfloat16>(strip * tile_keys);
    scores = carver.take<float>(strip * tile_keys);
    dp = carver.take<float>(strip * tile_keys);
    q_segment = carver.take<token_t>(tile_queries);
    k_segment = carver.take<token_t>(tile_keys);
  }
};

/// A pair of tiles.
struct TilePair {
  index_t query, queries;  ///< first query of the span, how many
  index_t keys;            ///< how many
  index_t offset;          ///< position of the first query minus that of the first key
};

struct BackwardTeam {
  AttentionShape shape;
  AttentionInputs<bfloat16> in;
  AttentionSaved<bfloat16> saved;
  View2<const bfloat16> dout;
  View2<bfloat16> dq;
  Bfloat16Tiles tiles;
  float* workspace;
  TeamScratch memory;
  bool units;

  void operator()(const Team& team) const {
    const index_t head_index = team.league_rank() % tiles.heads;
    const AttentionHead head(shape, in.segment, team.league_rank() / tiles.heads, head_index);
    const HeadMemory sums(tiles, workspace, team.league_rank());
    ScratchCarver carver = memory.carver(team);
    const BackwardScratch scratch(carver, tiles);
    const MatrixTiles products(units);
    prepare(sums, head, head_index);
    for (index_t key = 0; key < shape.num_keys(); key += tile_keys) {
      const index_t keys = math::min(tile_keys, shape.num_keys() - key);
      load_keys(scratch, head, key, keys);
      float *const dk = sums.dk + key * tiles.rows, *const dv = sums.dv + key * tiles.rows;
      std::fill_n(dk, tile_keys * tiles.rows, 0.0f);
      std::fill_n(dv, tile_keys * tiles.rows, 0.0f);
      const index_t first = math::max(index_t(0), key - shape.q_begin);
      for (index_t query = first / tile_queries * tile_queries; query < shape.seq_length;
           query += tile_queries) {
        const index_t position = shape.q_begin + query;
        if (!head.interact(position, key + keys - 1)) break;
        const TilePair pair{query, math::min(tile_queries, shape.seq_length - query), keys,
                            position - key};
        load_queries(scratch, head, pair);
        for (index_t i = 0; i < pair.queries; i += strip)
          add_query_gradients(products, scratch, sums, pair, i);
        add_key_gradients(products, scratch, sums, pair, dk, dv);
      }
    }
    round_query_gradients(sums, head);
  }

  /// Transposed operands, lse and delta_i = dout_i . out_i of all queries; dq = 0. Queries past the
  /// last are zero and have probability zero.
  void prepare(const HeadMemory& sums, const AttentionHead& head, index_t head_index) const {
    const index_t C = tiles.channels, area = tile_queries * tiles.rows;
    std::fill_n(sums.dq, tiles.query_tiles * area, 0.0f);
    for (index_t i = 0; i < tiles.query_tiles * tile_queries; ++i) {
      const index_t row = head.first_query + i;
      float sum = 0;
      if (i < shape.seq_length) {
        const bfloat16 *const d = &dout(row, head.q_column), *const o =
                                                                 &saved.out(row, head.q_column);
        ELASTIC_SIMD_SUM(sum)
        for (index_t c = 0; c < C; ++c) sum += widen(d[c]) * widen(o[c]);
      }
      sums.delta[i] = sum;
      sums.lse[i] = i < shape.seq_length ? saved.lse(row, head_index) * log2_e : -no_score<float>;
    }
    for (index_t tile = 0; tile < tiles.query_tiles; ++tile) {
      const index_t first = tile * tile_queries, row = head.first_query + first,
                    count = math::min(tile_queries, shape.seq_length - first);
      pack_rows_transposed(sums.q + tile * area, tile_queries, &in.q(row, head.q_column),
                           leading_dimension(in.q), C, count);
      pack_rows_transposed(sums.dout + tile * area, tile_queries, &dout(row, head.q_column),
                           leading_dimension(dout), C, count);
    }
  }
  void load_keys(const BackwardScratch& scratch, const AttentionHead& head, index_t key,
                 index_t keys) const {
    const index_t row = head.first_key + key, C = tiles.channels;
    const bfloat16 *const k = &in.k(row, head.kv_column), *const v = &in.v(row, head.kv_column);
    pack_pairs_transposed(scratch.k, tile_keys, k, leading_dimension(in.k), C, keys);
    pack_pairs_transposed(scratch.v, tile_keys, v, leading_dimension(in.v), C, keys);
    pack_pairs(scratch.k_rows, tiles.rows, k, leading_dimension(in.k), keys, C);
    for (index_t j = 0; j < tile_keys; ++j)
      scratch.k_segment[j] =
          head.segment == nullptr ? 0 : head.segment[key + math::min(j, keys - 1)];
  }
  void load_queries(const BackwardScratch& scratch, const AttentionHead& head,
                    const TilePair& pair) const {
    const index_t row = head.first_query + pair.query, C = tiles.channels;
    copy_rows(scratch.q, tiles.depth, &in.q(row, head.q_column), leading_dimension(in.q),
              pair.queries, C, tile_queries);
    copy_rows(scratch.dout, tiles.depth, &dout(row, head.q_column), leading_dimension(dout),
              pair.queries, C, tile_queries);
    const index_t position = shape.q_begin + pair.query;
    for (index_t i = 0; i < tile_queries; ++i)
      scratch.q_segment[i] =
          head.segment == nullptr ? 0 : head.segment[position + math::min(i, pair.queries - 1)];
  }

  /// Keys of the tile that at least one query of the strip sees, a multiple of 32.
  static index_t seen_keys(const TilePair& pair, index_t first) {
    return math::max(index_t(0), math::min(tile_keys, padded_depth(pair.offset + first + strip)));
  }
  /// P and dS of the strip of queries from `first` on; dq += dS k.
  void add_query_gradients(const MatrixTiles& products, const BackwardScratch& scratch,
                           const HeadMemory& sums, const TilePair& pair, index_t first) const {
    const index_t seen = seen_keys(pair, first);
    if (seen == 0) return;
    const index_t from = first * tiles.depth;
    products.multiply({strip, seen, tiles.depth}, scratch.q + from, tiles.depth, scratch.k,
                      tile_keys, scratch.scores, tile_keys);
    products.multiply({strip, seen, tiles.depth}, scratch.dout + from, tiles.depth, scratch.v,
                      tile_keys, scratch.dp, tile_keys);
    const bool all = pair.offset + first >= tile_keys - 1 && pair.keys == tile_keys &&
                     scratch.k_segment[0] == scratch.q_segment[first + strip - 1];
    if (all)
      probabilities<false>(scratch, sums, pair, first, seen);
    else
      probabilities<true>(scratch, sums, pair, first, seen);
    products.multiply_add({strip, tiles.rows, seen}, scratch.ds_rows, tile_keys, scratch.k_rows,
                          tiles.rows, sums.dq + (pair.query + first) * tiles.rows, tiles.rows);
  }
  template <bool masked>
  void probabilities(const BackwardScratch& scratch, const HeadMemory& sums, const TilePair& pair,
                     index_t first, index_t seen) const {
    const float factor = score_factor(shape);
    const float *const lse = sums.lse + pair.query + first, *const delta =
                                                                sums.delta + pair.query + first;
    struct Row {
      FloatLanes p, ds;
    };
    const auto row = [&](index_t i, index_t j) {
      const index_t at = i * tile_keys + j;
      Row x;
      x.p = probability_of(factor * load_lanes(scratch.scores + at) - lse[i]);
      x.ds = x.p * (load_lanes(scratch.dp + at) - delta[i]);
      if constexpr (masked) {
        const IntLanes key = lane_numbers() + static_cast<std::int32_t>(j);
        const IntLanes seen_here =
            (key <= static_cast<std::int32_t>(pair.offset + first + i)) &
            (load_lanes(scratch.k_segment + j) == scratch.q_segment[first + i]);
        x.p = seen_here ? x.p : FloatLanes{};
        x.ds = seen_here ? x.ds : FloatLanes{};
      }
      return x;
    };
    for (index_t i = 0; i < strip; i += 2)
      for (index_t j = 0; j < seen; j += lanes) {
        const Row low = row(i, j), high = row(i + 1, j);
        const index_t at = ((first + i) / 2 * tile_keys + j) * 2;
        store_pairs(scratch.p + at, round_to_pairs(low.p, high.p));
        const WordLanes ds = round_to_pairs(low.ds, high.ds);
        store_pairs(scratch.ds + at, ds);
        store_rows_of_pairs(scratch.ds_rows + i * tile_keys + j,
                            scratch.ds_rows + (i + 1) * tile_keys + j, ds);
      }
  }
  /// dv^T += dout^T p, dk^T += q^T ds; strips of queries before all keys of 32 are left out.
  void add_key_gradients(const MatrixTiles& products, const BackwardScratch& scratch,
                         const HeadMemory& sums, const TilePair& pair, float* dk, float* dv) const {
    const index_t end = padded_depth(pair.queries);
    const bfloat16 *const q = sums.q + pair.query * tiles.rows, *const d = sums.dout +
                                                                           pair.query * tiles.rows;
    index_t width = 0;
    for (index_t j = 0; j < tile_keys; j += width) {
      const auto first_query = [&](index_t key) {
        return math::max(index_t(0), key - pair.offset) / strip * strip;
      };
      const index_t first = first_query(j);
      for (width = strip; j + width < tile_keys && first_query(j + width) == first;) width += strip;
      if (first >= end) continue;
      const index_t at = (first / 2 * tile_keys + j) * 2;
      products.multiply_add({tiles.rows, width, end - first}, d + first, tile_queries,
                            scratch.p + at, tile_keys, dv + j, tile_keys);
      products.multiply_add({tiles.rows, width, end - first}, q + first, tile_queries,
                            scratch.ds + at, tile_keys, dk + j, tile_keys);
    }
  }
  void round_query_gradients(const HeadMemory& sums, const AttentionHead& head) const {
    const float scale = attention_scale<float>(shape);
    for (index_t i = 0; i < shape.seq_length; ++i) {
      const float* const sum = sums.dq + i * tiles.rows;
      bfloat16* const row = &dq(head.first_query + i, head.q_column);
      ELASTIC_SIMD
      for (index_t c = 0; c < tiles.channels; ++c) store_rounded(row[c], scale * sum[c]);
    }
  }
};

/// The tile of keys `item` of a KV head: dk and dv, summed over its query heads in order.
template <class K>
struct KeyGradientSum {
  AttentionShape shape;
  Bfloat16Tiles tiles;
  float* workspace;
  View2<K> dk, dv;

  void operator()(const index_t item) const {
    const index_t tile = item % tiles.key_tiles, kv_head = item / tiles.key_tiles % tiles.kv_heads,
                  batch = item / tiles.key_tiles / tiles.kv_heads;
    const index_t key = tile * tile_keys, row = batch * shape.num_keys() + key,
                  count = math::min(tile_keys, shape.num_keys() - key);
    add_heads(batch, kv_head, key, count, row, attention_scale<float>(shape), &HeadMemory::dk, dk);
    add_heads(batch, kv_head, key, count, row, 1.0f, &HeadMemory::dv, dv);
  }
  void add_heads(index_t batch, index_t kv_head, index_t key, index_t count, index_t row,
                 float scale, float* HeadMemory::*which, const View2<K>& target) const {
    for (index_t c0 = 0; c0 < tiles.channels; c0 += lanes)
      for (index_t j0 = 0; j0 < count; j0 += lanes) {
        float block[lanes * lanes] = {}, other[lanes * lanes];
        for (index_t head = kv_head; head < tiles.heads; head += tiles.kv_heads) {
          const HeadMemory sums(tiles, workspace, batch * tiles.heads + head);
          const float* const from = sums.*which + key * tiles.rows + c0 * tile_keys + j0;
          for (index_t c = 0; c < lanes; ++c)
            store_lanes(block + c * lanes,
                        load_lanes(block + c * lanes) + load_lanes(from + c * tile_keys));
        }
        transpose_block(block, other);
        const index_t columns = math::min(lanes, tiles.channels - c0);
        for (index_t j = 0; j < math::min(lanes, count - j0); ++j) {
          K* const to = &target(row + j0 + j, kv_head * tiles.channels + c0);
          ELASTIC_SIMD
          for (index_t c = 0; c < columns; ++c) store_rounded(to[c], scale * block[j * lanes + c]);
        }
      }
  }
};

}  // namespace

template <class K>
void attention_bfloat16_backward(const ExecutionSpace& exec, const AttentionShape& shape,
                                 const AttentionInputs<bfloat16>& in,
                                 const AttentionSaved<bfloat16>& saved, In2<bfloat16> dout,
                                 const AttentionGradients<bfloat16, K>& gradients,
                                 InOut1<float> workspace, bool units) {
  const Bfloat16Tiles tiles(shape);
  ScratchCarver counter(nullptr);
  [[maybe_unused]] const BackwardScratch layout(counter, tiles);
  const BackwardTeam body{
      shape, in, saved, dout, gradients.dq, tiles, workspace.data(), TeamScratch(counter.bytes()),
      units};
  Kokkos::parallel_for("elastic::attention_backward",
                       single_threads(exec, tiles.sequences * tiles.heads, body.memory), body);
  Kokkos::parallel_for(
      "elastic::attention_sum_heads",
      Kokkos::RangePolicy<ExecutionSpace>(exec, 0,
                                          tiles.sequences * tiles.kv_heads * tiles.key_tiles),
      KeyGradientSum<K>{shape, tiles, workspace.data(), gradients.dk, gradients.dv});
  add_flops(10 * attention_pairs(shape));
}

#define ELASTIC_INSTANTIATE(K)                                                                \
  template void attention_bfloat16_backward<K>(                                               \
      const ExecutionSpace&, const AttentionShape&, const AttentionInputs<bfloat16>&,         \
      const AttentionSaved<bfloat16>&, In2<bfloat16>, const AttentionGradients<bfloat16, K>&, \
      InOut1<float>, bool);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
#endif
