// SPDX-License-Identifier: Apache-2.0
// A thread takes one KV head after the other. For each of its query heads it goes over the tiles of
// keys and, inside, over the tiles of queries that see them, as in attention_backward.cpp:
//
//   S = q k^T,  dP = dout v^T                                [query, key], 32 queries at a time
//   P = exp(scale S - lse),  dS = P (dP - delta)             rounded to bfloat16
//   dV^T [C, key] += dout^T P,  dK^T += q^T dS               P and dS as pairs of queries
//   dQ [query, C] += dS k                                    dS in rows
//
// What a head needs for all of it, operands as products take them and sums in fp32 without the
// factor `scale`, lies in the thread's part of the workspace, small enough for a cache at usual
// lengths. dK^T and dV^T go on over the query heads; then they are transposed and rounded.
#if !defined(__CUDACC__) && !defined(__HIPCC__)
#include <cstring>

#include "base/region.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/lanes.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t strip = Bfloat16Tiles::strip, tile_keys = Bfloat16Tiles::keys,
                  tile_queries = Bfloat16Tiles::queries;

/// A thread's part of the workspace (Bfloat16Tiles::backward_slot).
struct Slot {
  bfloat16 *q, *dout;                        ///< [query, depth], all queries
  bfloat16 *q_transposed, *dout_transposed;  ///< [C, query] of each tile of queries
  float* dq;                                 ///< [query, C], all queries
  float *lse, *delta;                        ///< all queries; lse in powers of two
  float *dk, *dv;                            ///< [C, key] of each tile of keys

  Slot(const Bfloat16Tiles& tiles, float* at) {
    const index_t queries = tiles.query_tiles * tile_queries, keys = tiles.key_tiles * tile_keys;
    const auto take = [&](index_t count) { return std::exchange(at, at + count); };
    const auto take_halves = [&](index_t count) {
      return reinterpret_cast<bfloat16*>(take(count / 2));
    };
    q = take_halves(queries * tiles.depth);
    dout = take_halves(queries * tiles.depth);
    q_transposed = take_halves(queries * tiles.rows);
    dout_transposed = take_halves(queries * tiles.rows);
    dq = take(queries * tiles.rows);
    dk = take(keys * tiles.rows);
    dv = take(keys * tiles.rows);
    lse = take(queries);
    delta = take(queries);
  }
};

/// Scratch of one team.
struct BackwardScratch {
  bfloat16 *k, *v, *k_rows;    // pairs of channels [depth / 2, key, 2]; of keys [key / 2, C, 2]
  bfloat16 *p, *ds, *ds_rows;  // pairs of queries [query / 2, key, 2]; rows [strip, key]
  float *scores, *dp;          // [strip, key]
  token_t *q_segment, *k_segment;

  BackwardScratch(ScratchCarver& carver, const Bfloat16Tiles& tiles) {
    k = carver.take<bfloat16>(tile_keys * tiles.depth);
    v = carver.take<bfloat16>(tile_keys * tiles.depth);
    k_rows = carver.take<bfloat16>(tile_keys * tiles.rows);
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
  index_t key, keys;       ///< first key, how many
  index_t offset;          ///< position of the first query minus that of the first key
};

template <class K>
struct BackwardTeam {
  AttentionShape shape;
  AttentionInputs<bfloat16> in;
  AttentionSaved<bfloat16> saved;
  View2<const bfloat16> dout;
  AttentionGradients<bfloat16, K> gradients;
  Bfloat16Tiles tiles;
  float* workspace;
  TeamScratch memory;
  bool units;

  void operator()(const Team& team) const {
    ScratchCarver carver = memory.carver(team);
    const BackwardScratch scratch(carver, tiles);
    const Slot slot(tiles, workspace + team.league_rank() * tiles.backward_slot());
    const MatrixTiles products(units);
    for (index_t item = team.league_rank(); item < tiles.sequences * tiles.kv_heads;
         item += team.league_size()) {
      const index_t batch = item / tiles.kv_heads, kv_head = item % tiles.kv_heads;
      std::fill_n(slot.dk, tiles.key_tiles * tile_keys * tiles.rows, 0.0f);
      std::fill_n(slot.dv, tiles.key_tiles * tile_keys * tiles.rows, 0.0f);
      for (index_t head = kv_head; head < tiles.heads; head += tiles.kv_heads)
        add_head(products, scratch, slot, AttentionHead(shape, in.segment, batch, head), head);
      write_key_gradients(slot.dk, attention_scale<float>(shape), batch, kv_head, gradients.dk);
      write_key_gradients(slot.dv, 1.0f, batch, kv_head, gradients.dv);
    }
  }
  void add_head(const MatrixTiles& products, const BackwardScratch& scratch, const Slot& slot,
                const AttentionHead& head, index_t head_index) const {
    prepare(slot, head, head_index);
    for (index_t key = 0; key < shape.q_begin + shape.seq_length; key += tile_keys) {
      const index_t keys = math::min(tile_keys, shape.num_keys() - key);
      load_keys(scratch, head, key, keys);
      const index_t first = math::max(index_t(0), key - shape.q_begin);
      for (index_t query = first / tile_queries * tile_queries; query < shape.seq_length;
           query += tile_queries) {
        const index_t position = shape.q_begin + query;
        if (!head.interact(position, key + keys - 1)) break;
        const TilePair pair{query, math::min(tile_queries, shape.seq_length - query), key, keys,
                            position - key};
        load_segments(scratch.q_segment, tile_queries, head, position, pair.queries);
        for (index_t i = 0; i < pair.queries; i += strip)
          add_query_gradients(products, scratch, slot, pair, i);
        add_key_gradients(products, scratch, slot, pair);
      }
    }
    write_query_gradients(slot, head);
  }

  /// Operands, lse and delta_i = dout_i . out_i of all queries; dq = 0. Queries past the last are
  /// zero and have probability zero.
  void prepare(const Slot& slot, const AttentionHead& head, index_t head_index) const {
    const index_t C = tiles.channels, queries = tiles.query_tiles * tile_queries;
    std::fill_n(slot.dq, queries * tiles.rows, 0.0f);
    for (index_t i = 0; i < queries; ++i) {
      const index_t row = head.first_query + i;
      float sum = 0;
      if (i < shape.seq_length) {
        const bfloat16 *const d = &dout(row, head.q_column), *const o =
                                                                 &saved.out(row, head.q_column);
        ELASTIC_SIMD_SUM(sum)
        for (index_t c = 0; c < C; ++c) sum += widen(d[c]) * widen(o[c]);
      }
      slot.delta[i] = sum;
      slot.lse[i] = i < shape.seq_length ? saved.lse(row, head_index) * log2_e : -no_score<float>;
    }
    const auto pack_both = [&](const View2<const bfloat16>& from, bfloat16* rows,
                               bfloat16* transposed) {
      for (index_t first = 0; first < queries; first += tile_queries) {
        const bfloat16* const source = &from(head.first_query + first, head.q_column);
        const index_t count = math::min(tile_queries, shape.seq_length - first);
        copy_rows(rows + first * tiles.depth, tiles.depth, source, leading_dimension(from), count,
                  C, tile_queries);
        pack_rows_transposed(transposed + first * tiles.rows, tile_queries, source,
                             leading_dimension(from), C, count);
      }
    };
    pack_both(in.q, slot.q, slot.q_transposed);
    pack_both(dout, slot.dout, slot.dout_transposed);
  }
  void load_keys(const BackwardScratch& scratch, const AttentionHead& head, index_t key,
                 index_t keys) const {
    const index_t row = head.first_key + key, C = tiles.channels;
    const bfloat16 *const k = &in.k(row, head.kv_column), *const v = &in.v(row, head.kv_column);
    pack_pairs_transposed(scratch.k, tile_keys, k, leading_dimension(in.k), C, keys);
    pack_pairs_transposed(scratch.v, tile_keys, v, leading_dimension(in.v), C, keys);
    pack_pairs(scratch.k_rows, tiles.rows, k, leading_dimension(in.k), keys, C);
    load_segments(scratch.k_segment, tile_keys, head, key, keys);
  }

  /// Keys of the tile that at least one query of the strip sees, a multiple of 32. Behind the last
  /// key no more than that: what lies there in scratch was not packed.
  static index_t seen_keys(const TilePair& pair, index_t first) {
    return math::max(index_t(0), padded_depth(math::min(pair.keys, pair.offset + first + strip)));
  }
  /// P and dS of the strip of queries from `first` on; dq += dS k.
  void add_query_gradients(const MatrixTiles& products, const BackwardScratch& scratch,
                           const Slot& slot, const TilePair& pair, index_t first) const {
    const index_t seen = seen_keys(pair, first);
    if (seen == 0) return;
    const index_t from = (pair.query + first) * tiles.depth;
    products.multiply({strip, seen, tiles.depth}, slot.q + from, tiles.depth, scratch.k, tile_keys,
                      scratch.scores, tile_keys);
    products.multiply({strip, seen, tiles.depth}, slot.dout + from, tiles.depth, scratch.v,
                      tile_keys, scratch.dp, tile_keys);
    const bool all = pair.offset + first >= tile_keys - 1 && pair.keys == tile_keys &&
                     scratch.k_segment[0] == scratch.q_segment[first + strip - 1];
    if (all)
      probabilities<false>(scratch, slot, pair, first, seen);
    else
      probabilities<true>(scratch, slot, pair, first, seen);
    products.multiply_add({strip, tiles.rows, seen}, scratch.ds_rows, tile_keys, scratch.k_rows,
                          tiles.rows, slot.dq + (pair.query + first) * tiles.rows, tiles.rows);
  }
  template <bool masked>
  void probabilities(const BackwardScratch& scratch, const Slot& slot, const TilePair& pair,
                     index_t first, index_t seen) const {
    const float factor = score_factor(shape);
    const float *const lse = slot.lse + pair.query + first, *const delta =
                                                                slot.delta + pair.query + first;
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
                         const Slot& slot, const TilePair& pair) const {
    float *const dk = slot.dk + pair.key * tiles.rows, *const dv = slot.dv + pair.key * tiles.rows;
    const index_t end = padded_depth(pair.queries);
    const bfloat16 *const q = slot.q_transposed + pair.query * tiles.rows,
                          *const d = slot.dout_transposed + pair.query * tiles.rows;
    index_t width = 0;
    const index_t packed = padded_depth(pair.keys);
    for (index_t j = 0; j < packed; j += width) {
      const auto first_query = [&](index_t key) {
        return math::max(index_t(0), key - pair.offset) / strip * strip;
      };
      const index_t first = first_query(j);
      for (width = strip; j + width < packed && first_query(j + width) == first;) width += strip;
      if (first >= end) continue;
      const index_t at = (first / 2 * tile_keys + j) * 2;
      products.multiply_add({tiles.rows, width, end - first}, d + first, tile_queries,
                            scratch.p + at, tile_keys, dv + j, tile_keys);
      products.multiply_add({tiles.rows, width, end - first}, q + first, tile_queries,
                            scratch.ds + at, tile_keys, dk + j, tile_keys);
    }
  }
  void write_query_gradients(const Slot& slot, const AttentionHead& head) const {
    const float scale = attention_scale<float>(shape);
    for (index_t i = 0; i < shape.seq_length; ++i) {
      const float* const sum = slot.dq + i * tiles.rows;
      bfloat16* const row = &gradients.dq(head.first_query + i, head.q_column);
      ELASTIC_SIMD
      for (index_t c = 0; c < tiles.channels; ++c) store_rounded(row[c], scale * sum[c]);
    }
  }
  /// target [key, C] of a KV head = scale sum [C, key]
  void write_key_gradients(const float* sum, float scale, index_t batch, index_t kv_head,
                           const View2<K>& target) const {
    const index_t row = batch * shape.num_keys(), column = kv_head * tiles.channels;
    for (index_t j0 = 0; j0 < shape.num_keys(); j0 += lanes)
      for (index_t c0 = 0; c0 < tiles.channels; c0 += lanes) {
        const float* const from =
            sum + j0 / tile_keys * tile_keys * tiles.rows + c0 * tile_keys + j0 % tile_keys;
        float block[lanes * lanes], other[lanes * lanes];
        for (index_t c = 0; c < lanes; ++c)
          store_lanes(block + c * lanes, scale * load_lanes(from + c * tile_keys));
        transpose_block(block, other);
        const index_t columns = math::min(lanes, tiles.channels - c0);
        for (index_t j = 0; j < math::min(lanes, shape.num_keys() - j0); ++j) {
          K* const to = &target(row + j0 + j, column + c0);
          ELASTIC_SIMD
          for (index_t c = 0; c < columns; ++c) store_rounded(to[c], block[j * lanes + c]);
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
  const BackwardTeam<K> body{
      shape, in, saved, dout, gradients, tiles, workspace.data(), TeamScratch(counter.bytes()),
      units};
  Kokkos::parallel_for("elastic::attention_backward",
                       single_threads(exec, tiles.backward_slots(), body.memory), body);
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
