// SPDX-License-Identifier: Apache-2.0
// A team takes one KV head after the other. For each of its query heads it goes over the tiles of
// keys and, inside, over the tiles of queries that see them, as in attention_backward.cpp:
//
//   S = q k^T,  dP = dout v^T                                [query, key], 32 queries at a time
//   P = exp(scale S - lse),  dS = P (dP - delta)             rounded to bfloat16
//   dV^T [C, key] += dout^T P,  dK^T += q^T dS               P and dS as pairs of queries
//   dQ [query, C] += dS k                                    dS in rows
//
// What a head needs for all of it, operands as products take them and sums in fp32 without the
// factor `scale`, lies in the team's part of the workspace, small enough for a cache at usual
// lengths. dK^T and dV^T go on over the query heads; then they are transposed and rounded.
//
// A team has one thread, or several where there are more threads than KV heads. These share out the
// tiles of queries and keep P and dS of all of them; then they share out rows and columns of dV^T
// and dK^T. No sum is split: its order is that of one thread.
#if !defined(__CUDACC__) && !defined(__HIPCC__)
#include <cstring>

#include "base/region.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/lanes.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t strip = Bfloat16Tiles::strip, tile_keys = Bfloat16Tiles::keys,
                  tile_queries = Bfloat16Tiles::queries;

/// A team's part of the workspace (Bfloat16Tiles::backward_slot).
struct Slot {
  bfloat16 *q, *dout;                        ///< [query, depth], all queries
  bfloat16 *q_transposed, *dout_transposed;  ///< [C, query] of each tile of queries
  float* dq;                                 ///< [query, C], all queries
  float *lse, *delta;                        ///< all queries; lse in powers of two
  float *dk, *dv;                            ///< [C, key] of each tile of keys
  bfloat16 *p = nullptr, *ds = nullptr;      ///< of each tile of queries, for several threads

  Slot(const Bfloat16Tiles& tiles, float* at, index_t threads) {
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
    if (threads > 1) {
      p = take_halves(queries * tile_keys);
      ds = take_halves(queries * tile_keys);
    }
  }
};

/// Scratch of one team, and of one of its threads.
struct BackwardScratch {
  bfloat16 *k, *v, *k_rows;  // pairs of channels [depth / 2, key, 2]; of keys [key / 2, C, 2]
  token_t* k_segment;
  bfloat16 *p, *ds;    // the thread's: pairs of queries [query / 2, key, 2]
  bfloat16* ds_rows;   // [strip, key]
  float *scores, *dp;  // [strip, key]
  token_t* q_segment;

  BackwardScratch(ScratchCarver& carver, const Bfloat16Tiles& tiles, index_t threads,
                  index_t thread) {
    k = carver.take<bfloat16>(tile_keys * tiles.depth);
    v = carver.take<bfloat16>(tile_keys * tiles.depth);
    k_rows = carver.take<bfloat16>(tile_keys * tiles.rows);
    k_segment = carver.take<token_t>(tile_keys);
    const auto take_own = [&]<class T>(T*& own, index_t count) {
      own = carver.take<T>(threads * count) + thread * count;
    };
    take_own(p, tile_queries * tile_keys);
    take_own(ds, tile_queries * tile_keys);
    take_own(ds_rows, strip * tile_keys);
    take_own(scores, strip * tile_keys);
    take_own(dp, strip * tile_keys);
    take_own(q_segment, tile_queries);
  }
};

/// A pair of tiles.
struct TilePair {
  index_t query, queries;  ///< first query of the span, how many
  index_t key, keys;       ///< first key, how many
  index_t offset;          ///< position of the first query minus that of the first key
  bfloat16 *p, *ds;        ///< where P and dS of the pair are kept
};
/// Rows and columns of dv^T and dk^T.
struct Part {
  index_t row, rows, key, keys;
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
    const index_t threads = team.team_size();
    ScratchCarver carver = memory.carver(team);
    const BackwardScratch scratch(carver, tiles, threads, team.team_rank());
    const Slot slot(tiles, workspace + team.league_rank() * tiles.backward_slot(threads), threads);
    const MatrixTiles products(units);
    for (index_t item = team.league_rank(); item < tiles.sequences * tiles.kv_heads;
         item += team.league_size()) {
      const index_t batch = item / tiles.kv_heads, kv_head = item % tiles.kv_heads;
      for_each_row(team, tiles.key_tiles, [&](index_t tile) {
        std::fill_n(slot.dk + tile * tile_keys * tiles.rows, tile_keys * tiles.rows, 0.0f);
        std::fill_n(slot.dv + tile * tile_keys * tiles.rows, tile_keys * tiles.rows, 0.0f);
      });
      for (index_t head = kv_head; head < tiles.heads; head += tiles.kv_heads)
        add_head(team, products, scratch, slot, AttentionHead(shape, in.segment, batch, head),
                 head);
      write_key_gradients(team, slot.dk, attention_scale<float>(shape), batch, kv_head,
                          gradients.dk);
      write_key_gradients(team, slot.dv, 1.0f, batch, kv_head, gradients.dv);
    }
  }
  void add_head(const Team& team, const MatrixTiles& products, const BackwardScratch& scratch,
                const Slot& slot, const AttentionHead& head, index_t head_index) const {
    prepare(team, slot, head, head_index);
    for (index_t key = 0; key < shape.q_begin + shape.seq_length; key += tile_keys) {
      const index_t keys = math::min(tile_keys, shape.num_keys() - key);
      load_keys(team, scratch, head, key, keys);
      const index_t first = math::max(index_t(0), key - shape.q_begin) / tile_queries;
      index_t end = first;
      while (end < tiles.query_tiles &&
             head.interact(shape.q_begin + end * tile_queries, key + keys - 1))
        ++end;
      const auto pair_of = [&](index_t tile) {
        const index_t query = tile * tile_queries, area = tile_queries * tile_keys;
        const bool kept = team.team_size() > 1;
        return TilePair{query,
                        math::min(tile_queries, shape.seq_length - query),
                        key,
                        keys,
                        shape.q_begin + query - key,
                        kept ? slot.p + tile * area : scratch.p,
                        kept ? slot.ds + tile * area : scratch.ds};
      };
      for_each_row(team, end - first, [&](index_t i) {
        const TilePair pair = pair_of(first + i);
        load_segments(scratch.q_segment, tile_queries, head, shape.q_begin + pair.query,
                      pair.queries);
        for (index_t query = 0; query < pair.queries; query += strip)
          add_query_gradients(products, scratch, slot, pair, query);
        if (team.team_size() == 1)
          add_key_gradients(products, slot, pair, {0, tiles.rows, 0, padded_depth(keys)});
      });
      if (team.team_size() == 1) continue;
      const index_t down = (tiles.rows + strip - 1) / strip, across = padded_depth(keys) / strip;
      for_each_row(team, down * across, [&](index_t part) {
        const index_t row = part % down * strip;
        for (index_t tile = first; tile < end; ++tile)
          add_key_gradients(products, slot, pair_of(tile),
                            {row, math::min(strip, tiles.rows - row), part / down * strip, strip});
      });
    }
    write_query_gradients(team, slot, head);
  }

  /// Operands, lse and delta_i = dout_i . out_i of all queries; dq = 0. Queries past the last are
  /// zero and have probability zero.
  void prepare(const Team& team, const Slot& slot, const AttentionHead& head,
               index_t head_index) const {
    for_each_row(team, tiles.query_tiles, [&](index_t tile) {
      const index_t first = tile * tile_queries;
      std::fill_n(slot.dq + first * tiles.rows, tile_queries * tiles.rows, 0.0f);
      for (index_t i = first; i < first + tile_queries; ++i) {
        const index_t row = head.first_query + i;
        float sum = 0;
        if (i < shape.seq_length) {
          const bfloat16 *const d = &dout(row, head.q_column), *const o =
                                                                   &saved.out(row, head.q_column);
          ELASTIC_SIMD_SUM(sum)
          for (index_t c = 0; c < tiles.channels; ++c) sum += widen(d[c]) * widen(o[c]);
        }
        slot.delta[i] = sum;
        slot.lse[i] = i < shape.seq_length ? saved.lse(row, head_index) * log2_e : -no_score<float>;
      }
      pack_queries(in.q, head, first, slot.q, slot.q_transposed);
      pack_queries(dout, head, first, slot.dout, slot.dout_transposed);
    });
  }
  /// The tile of queries from `first` on, as rows and transposed.
  void pack_queries(const View2<const bfloat16>& from, const AttentionHead& head, index_t first,
                    bfloat16* rows, bfloat16* transposed) const {
    const bfloat16* const source = &from(head.first_query + first, head.q_column);
    const index_t count = math::min(tile_queries, shape.seq_length - first);
    copy_rows(rows + first * tiles.depth, tiles.depth, source, leading_dimension(from), count,
              tiles.channels, tile_queries);
    pack_rows_transposed(transposed + first * tiles.rows, tile_queries, source,
                         leading_dimension(from), tiles.channels, count);
  }
  void load_keys(const Team& team, const BackwardScratch& scratch, const AttentionHead& head,
                 index_t key, index_t keys) const {
    const index_t row = head.first_key + key, C = tiles.channels;
    const bfloat16 *const k = &in.k(row, head.kv_column), *const v = &in.v(row, head.kv_column);
    for_each_row(team, 3, [&](index_t task) {
      if (task == 0)
        pack_pairs_transposed(scratch.k, tile_keys, k, leading_dimension(in.k), C, keys);
      else if (task == 1)
        pack_pairs_transposed(scratch.v, tile_keys, v, leading_dimension(in.v), C, keys);
      else {
        pack_pairs(scratch.k_rows, tiles.rows, k, leading_dimension(in.k), keys, C);
        load_segments(scratch.k_segment, tile_keys, head, key, keys);
      }
    });
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
        store_pairs(pair.p + at, round_to_pairs(low.p, high.p));
        const WordLanes ds = round_to_pairs(low.ds, high.ds);
        store_pairs(pair.ds + at, ds);
        store_rows_of_pairs(scratch.ds_rows + i * tile_keys + j,
                            scratch.ds_rows + (i + 1) * tile_keys + j, ds);
      }
  }
  /// A part of dv^T += dout^T p, dk^T += q^T ds; strips of queries before all keys of 32 are left
  /// out.
  void add_key_gradients(const MatrixTiles& products, const Slot& slot, const TilePair& pair,
                         const Part& part) const {
    const index_t begin = pair.key * tiles.rows + part.row * tile_keys;
    float *const dk = slot.dk + begin, *const dv = slot.dv + begin;
    const index_t end = padded_depth(pair.queries),
                  from = pair.query * tiles.rows + part.row * tile_queries;
    const bfloat16 *const q = slot.q_transposed + from, *const d = slot.dout_transposed + from;
    index_t width = 0;
    const index_t last = part.key + part.keys;
    for (index_t j = part.key; j < last; j += width) {
      const auto first_query = [&](index_t key) {
        return math::max(index_t(0), key - pair.offset) / strip * strip;
      };
      const index_t first = first_query(j);
      for (width = strip; j + width < last && first_query(j + width) == first;) width += strip;
      if (first >= end) continue;
      const index_t at = (first / 2 * tile_keys + j) * 2;
      products.multiply_add({part.rows, width, end - first}, d + first, tile_queries, pair.p + at,
                            tile_keys, dv + j, tile_keys);
      products.multiply_add({part.rows, width, end - first}, q + first, tile_queries, pair.ds + at,
                            tile_keys, dk + j, tile_keys);
    }
  }
  void write_query_gradients(const Team& team, const Slot& slot, const AttentionHead& head) const {
    const float scale = attention_scale<float>(shape);
    for_each_row(team, shape.seq_length, [&](index_t i) {
      const float* const sum = slot.dq + i * tiles.rows;
      bfloat16* const row = &gradients.dq(head.first_query + i, head.q_column);
      ELASTIC_SIMD
      for (index_t c = 0; c < tiles.channels; ++c) store_rounded(row[c], scale * sum[c]);
    });
  }
  /// target [key, C] of a KV head = scale sum [C, key]
  void write_key_gradients(const Team& team, const float* sum, float scale, index_t batch,
                           index_t kv_head, const View2<K>& target) const {
    const index_t row = batch * shape.num_keys(), column = kv_head * tiles.channels;
    for_each_row(team, (shape.num_keys() + lanes - 1) / lanes, [&](index_t block_of_keys) {
      const index_t j0 = block_of_keys * lanes;
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
    });
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
  const index_t threads = tiles.backward_threads();
  ScratchCarver counter(nullptr);
  [[maybe_unused]] const BackwardScratch layout(counter, tiles, threads, 0);
  const BackwardTeam<K> body{
      shape, in, saved, dout, gradients, tiles, workspace.data(), TeamScratch(counter.bytes()),
      units};
  Kokkos::parallel_for("elastic::attention_backward",
                       teams_of_threads(exec, tiles.backward_slots(), threads, body.memory), body);
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
