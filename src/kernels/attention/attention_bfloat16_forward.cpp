// SPDX-License-Identifier: Apache-2.0
// One team per (sequence, head, tile of queries) runs over the tiles of keys, 32 queries at a time:
//
//   S^T [key, query] = k q^T;   P^T = exp(scale S^T - maxima);   O^T [C, query] += v^T P^T
//
// With queries along the lanes, maxima and sums over keys are vertical, and rows of P^T become the
// pairs that the second product takes without moving a number to another lane. Keys and transposed
// values are packed once for all query heads and tiles that read them.
#if !defined(__CUDACC__) && !defined(__HIPCC__)
#include <cstring>

#include "base/region.hpp"
#include "kernels/attention/attention_bfloat16.hpp"
#include "kernels/attention/lanes.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t strip = Bfloat16Tiles::strip, halves = strip / lanes,
                  tile_keys = Bfloat16Tiles::forward_keys, tile_queries = Bfloat16Tiles::queries;
/// Where nothing has been visible yet: far below scores, far above no_score.
constexpr float lowest_reference = -1e20f;

/// Scratch of one team; [strip] are the queries of one strip, all others belong to each of them.
struct ForwardScratch {
  bfloat16 *q, *p;
  float *scores, *sum, *reference, *total;
  token_t *q_segment, *k_segment;

  ForwardScratch(ScratchCarver& carver, const Bfloat16Tiles& tiles) {
    q = carver.take<bfloat16>(tile_queries * tiles.depth);  // [depth / 2, strip, 2] of each strip
    p = carver.take<bfloat16>(tile_keys * strip);           // [key / 2, strip, 2]
    scores = carver.take<float>(tile_keys * strip);         // [key, strip]
    sum = carver.take<float>(tile_queries * tiles.rows);  // [C, strip] of each strip, unnormalised
    reference = carver.take<float>(tile_queries);         // of scores, in powers of two
    total = carver.take<float>(tile_queries);
    q_segment = carver.take<token_t>(tile_queries);
    k_segment = carver.take<token_t>(tile_keys);
  }
};

/// What a strip of queries sees of a tile of keys.
struct StripView {
  index_t first;   ///< query of the tile
  index_t offset;  ///< position of that query minus that of the first key
  index_t keys;    ///< seen by at least one of the queries, a multiple of 32
  bool all;        ///< by each of them
};

struct ForwardTeam {
  AttentionShape shape;
  AttentionInputs<bfloat16> in;
  AttentionSaved<bfloat16> saved;
  Bfloat16Tiles tiles;
  const bfloat16* packed;
  TeamScratch memory;
  bool units;

  void operator()(const Team& team) const {
    const index_t rank = team.league_rank(), head_index = rank / tiles.query_tiles % tiles.heads,
                  batch = rank / tiles.query_tiles / tiles.heads;
    const AttentionHead head(shape, in.segment, batch, head_index);
    const index_t first = rank % tiles.query_tiles * tile_queries,
                  queries = math::min(tile_queries, shape.seq_length - first),
                  begin = shape.q_begin + first;  // position of the tile
    ScratchCarver carver = memory.carver(team);
    const ForwardScratch scratch(carver, tiles);
    const MatrixTiles products(units);
    start(scratch, head, first, queries);
    const bfloat16* tile = packed + (batch * tiles.kv_heads + head_index % tiles.kv_heads) *
                                        tiles.forward_key_tiles * tiles.key_value_tile();
    for (index_t key = 0; key < begin + queries; key += tile_keys, tile += tiles.key_value_tile()) {
      const index_t keys = math::min(tile_keys, shape.num_keys() - key);
      if (!head.interact(begin, key + keys - 1)) continue;
      load_segments(scratch.k_segment, tile_keys, head, key, keys);
      for (index_t i = 0; i < queries; i += strip) {
        const index_t offset = begin + i - key,
                      end = math::min(tile_keys, padded_depth(offset + strip));
        if (end <= 0) continue;
        const bool all = offset >= keys - 1 && keys == tile_keys &&
                         scratch.k_segment[0] == scratch.q_segment[i + strip - 1];
        add_keys(products, scratch, {i, offset, end, all}, tile);
      }
    }
    for (index_t i = 0; i < queries; i += strip)
      write(scratch, head.first_query + first, head, head_index, i, math::min(strip, queries - i));
  }

  void start(const ForwardScratch& scratch, const AttentionHead& head, index_t first,
             index_t queries) const {
    const index_t ld = leading_dimension(in.q);
    const bfloat16* const q = &in.q(head.first_query + first, head.q_column);
    for (index_t i = 0; i < queries; i += strip)
      pack_pairs_transposed(scratch.q + i * tiles.depth, strip, q + i * ld, ld, tiles.channels,
                            math::min(strip, queries - i));
    load_segments(scratch.q_segment, tile_queries, head, shape.q_begin + first, queries);
    std::fill_n(scratch.sum, tile_queries * tiles.rows, 0.0f);
    std::fill_n(scratch.reference, tile_queries, lowest_reference);
    std::fill_n(scratch.total, tile_queries, 0.0f);
  }

  void add_keys(const MatrixTiles& products, const ForwardScratch& scratch, const StripView& view,
                const bfloat16* tile) const {
    float* const sum = scratch.sum + view.first * tiles.rows;
    products.multiply({view.keys, strip, tiles.depth}, tile, tiles.depth,
                      scratch.q + view.first * tiles.depth, strip, scratch.scores, strip);
    if (!view.all) hide(scratch, view);
    alignas(64) float corrections[strip];
    if (!soften(scratch, view, corrections))
      for (index_t c = 0; c < tiles.rows; ++c)
        for (index_t i = 0; i < strip; i += lanes)
          store_lanes(sum + c * strip + i,
                      load_lanes(sum + c * strip + i) * load_lanes(corrections + i));
    products.multiply_add({tiles.rows, strip, view.keys}, tile + tile_keys * tiles.depth, tile_keys,
                          scratch.p, strip, sum, strip);
  }

  /// Scores that are not visible become no_score.
  void hide(const ForwardScratch& scratch, const StripView& view) const {
    for (index_t h = 0; h < halves; ++h) {
      const IntLanes last =  // key that a query sees last
          lane_numbers() + static_cast<std::int32_t>(view.offset + h * lanes);
      const IntLanes segment = load_lanes(scratch.q_segment + view.first + h * lanes);
      for (index_t j = 0; j < view.keys; ++j) {
        float* const s = scratch.scores + j * strip + h * lanes;
        const IntLanes seen =
            (last >= static_cast<std::int32_t>(j)) & (segment == scratch.k_segment[j]);
        store_lanes(s, seen ? load_lanes(s) : all_lanes(no_score<float>));
      }
    }
  }
  /// Scores become probabilities relative to a reference of each query: its maximum, or one that it
  /// exceeds by less than a factor of 2^8. References are kept as they are subtracted, so that one
  /// that does not change corrects by exactly 1. Returns whether none changed.
  bool soften(const ForwardScratch& scratch, const StripView& view, float* corrections) const {
    const float factor = score_factor(shape);
    float *const references = scratch.reference + view.first, *const totals =
                                                                  scratch.total + view.first;
    FloatLanes maximum[halves], top[halves], even[halves] = {}, odd[halves] = {};
    for (index_t h = 0; h < halves; ++h) maximum[h] = all_lanes(no_score<float>);
    for (index_t j = 0; j < view.keys; ++j)
      for (index_t h = 0; h < halves; ++h) {
        const FloatLanes s = load_lanes(scratch.scores + j * strip + h * lanes);
        maximum[h] = maximum[h] < s ? s : maximum[h];
      }
    for (index_t h = 0; h < halves; ++h) {
      const FloatLanes before = load_lanes(references + h * lanes), here = factor * maximum[h];
      top[h] = before + 8.0f < here ? here : before;
    }
    for (index_t j = 0; j < view.keys; j += 2)
      for (index_t h = 0; h < halves; ++h) {
        const float* const s = scratch.scores + j * strip + h * lanes;
        const FloatLanes low = probability_of(factor * load_lanes(s) - top[h]),
                         high = probability_of(factor * load_lanes(s + strip) - top[h]);
        even[h] += low;
        odd[h] += high;
        store_pairs(scratch.p + (j / 2 * strip + h * lanes) * 2, round_to_pairs(low, high));
      }
    bool same = true;
    for (index_t h = 0; h < halves; ++h) {
      const FloatLanes correction = probability_of(load_lanes(references + h * lanes) - top[h]);
      const FloatLanes total = load_lanes(totals + h * lanes) * correction + (even[h] + odd[h]);
      same = same && std::memcmp(&top[h], references + h * lanes, sizeof top[h]) == 0;
      store_lanes(totals + h * lanes, total);
      store_lanes(references + h * lanes, top[h]);
      store_lanes(corrections + h * lanes, correction);
    }
    return same;
  }

  /// out and lse of `queries` queries from `first` of the tile on, whose first row is `row`.
  void write(const ForwardScratch& scratch, index_t row, const AttentionHead& head,
             index_t head_index, index_t first, index_t queries) const {
    const float* const sum = scratch.sum + first * tiles.rows;
    for (index_t i0 = 0; i0 < queries; i0 += lanes) {
      const FloatLanes inverse = 1.0f / load_lanes(scratch.total + first + i0);
      for (index_t c0 = 0; c0 < tiles.channels; c0 += lanes) {
        float block[lanes * lanes], other[lanes * lanes];
        for (index_t c = 0; c < lanes; ++c)
          store_lanes(block + c * lanes, inverse * load_lanes(sum + (c0 + c) * strip + i0));
        transpose_block(block, other);
        const index_t count = math::min(lanes, tiles.channels - c0);
        for (index_t i = 0; i < math::min(lanes, queries - i0); ++i) {
          bfloat16* const out = &saved.out(row + first + i0 + i, head.q_column + c0);
          ELASTIC_SIMD
          for (index_t c = 0; c < count; ++c) store_rounded(out[c], block[i * lanes + c]);
        }
      }
    }
    for (index_t i = first; i < first + queries; ++i)
      saved.lse(row + i, head_index) =
          (1 / log2_e) * scratch.reference[i] + math::log(scratch.total[i]);
  }
};

/// Tiles of keys, [keys, depth], and of values, [rows, keys], of every KV head.
void pack_keys_and_values(const ExecutionSpace& exec, const AttentionShape& shape,
                          const Bfloat16Tiles& tiles, const AttentionInputs<bfloat16>& in,
                          bfloat16* packed) {
  const index_t seen = shape.q_begin + shape.seq_length;
  Kokkos::parallel_for(
      "elastic::attention_pack",
      Kokkos::RangePolicy<ExecutionSpace>(
          exec, 0, tiles.sequences * tiles.kv_heads * tiles.forward_key_tiles),
      [=](const index_t item) {
        const index_t key = item % tiles.forward_key_tiles * tile_keys,
                      kv_head = item / tiles.forward_key_tiles % tiles.kv_heads,
                      batch = item / tiles.forward_key_tiles / tiles.kv_heads;
        if (key >= seen) return;
        const index_t row = batch * shape.num_keys() + key, column = kv_head * tiles.channels,
                      count = math::min(tile_keys, shape.num_keys() - key);
        bfloat16* const tile = packed + item * tiles.key_value_tile();
        copy_rows(tile, tiles.depth, &in.k(row, column), leading_dimension(in.k), count,
                  tiles.channels, tile_keys);
        pack_rows_transposed(tile + tile_keys * tiles.depth, tile_keys, &in.v(row, column),
                             leading_dimension(in.v), tiles.channels, count);
      });
}

}  // namespace

void attention_bfloat16_forward(const ExecutionSpace& exec, const AttentionShape& shape,
                                const AttentionInputs<bfloat16>& in,
                                const AttentionSaved<bfloat16>& saved, InOut1<float> workspace,
                                bool units) {
  const Bfloat16Tiles tiles(shape);
  auto* const packed = reinterpret_cast<bfloat16*>(workspace.data());
  pack_keys_and_values(exec, shape, tiles, in, packed);
  ScratchCarver counter(nullptr);
  [[maybe_unused]] const ForwardScratch layout(counter, tiles);
  const ForwardTeam body{shape, in, saved, tiles, packed, TeamScratch(counter.bytes()), units};
  const index_t teams = tiles.sequences * tiles.heads * tiles.query_tiles;
  Kokkos::parallel_for("elastic::attention_forward", single_threads(exec, teams, body.memory),
                       body);
  add_flops(4 * attention_pairs(shape));
}

}  // namespace elastic::kernels
#endif
