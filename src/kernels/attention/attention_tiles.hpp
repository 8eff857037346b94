// SPDX-License-Identifier: Apache-2.0
// What forward and backward attention share: extents of tiles, which tiles and elements are
// visible, and the product of a row-major with a k-major block.
#pragma once
#include "base/shapes.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/products/block_product.hpp"
#include "kernels/rows/vector_exp.hpp"

namespace elastic::kernels {

/// Positions in a tile of queries or keys.
inline constexpr index_t attention_tile = 64;
/// The score that no visible element has; finite, so that differences of two of them are zero.
template <class T>
inline constexpr T no_score = T(-1e30);

/// Probabilities below exp(-60) of the largest count as zero: products with them would be subnormal
/// numbers, which cost a hundred times as much.
template <class T>
inline constexpr T smallest_score = T(-60);

template <class T>
KOKKOS_INLINE_FUNCTION T attention_scale(const AttentionShape& shape) {
  return T(1) / math::sqrt(static_cast<T>(shape.head_dim));
}

/// Sequence b, head a and its KV head that one team works on, and the segments of the sequence.
struct AttentionHead {
  index_t first_query;     ///< b * L
  index_t first_key;       ///< b * L'
  index_t q_column;        ///< a * C
  index_t kv_column;       ///< (a % R) * C
  const token_t* segment;  ///< [L'] or null

  KOKKOS_INLINE_FUNCTION AttentionHead(const AttentionShape& shape, View1<const token_t> segments,
                                       index_t batch, index_t head)
      : first_query(batch * shape.seq_length),
        first_key(batch * shape.num_keys()),
        q_column(head * shape.head_dim),
        kv_column(head % shape.num_groups * shape.head_dim),
        segment(segments.extent(0) == 0 ? nullptr : segments.data() + first_key) {}

  /// Whether positions may see each other.
  /// Segments do not decrease, so only the ends of two tiles need a look.
  KOKKOS_INLINE_FUNCTION bool interact(index_t query, index_t last_key) const {
    return segment == nullptr || segment[last_key] >= segment[query];
  }
  /// target[i] = segment of position begin + i.
  KOKKOS_INLINE_FUNCTION void load_segments(const Team& team, index_t begin, index_t count,
                                            token_t* target) const {
    const token_t* const source = segment;
    for_each_row(team, count,
                 [&](index_t i) { target[i] = source == nullptr ? 0 : source[begin + i]; });
  }
};

/// tile[i, j] = sum_{k < count} a[i, k] b[k, j]. Like Tile::multiply, but a is row-major.
template <class T>
ELASTIC_OWN_REGISTERS KOKKOS_INLINE_FUNCTION void multiply_rows(Tile<T>& tile, const T* a,
                                                                index_t lda, const T* b,
                                                                index_t ldb, index_t count) {
  T sum[tile_rows][lanes];
  for (index_t i = 0; i < tile_rows; ++i) {
    ELASTIC_SIMD
    for (index_t j = 0; j < lanes; ++j) sum[i][j] = 0;
  }
  for (index_t k = 0; k < count; ++k) {
    const T* const b_row = b + k * ldb;
    for (index_t i = 0; i < tile_rows; ++i) {
      const T x = a[i * lda + k];
      ELASTIC_SIMD
      for (index_t j = 0; j < lanes; ++j) sum[i][j] += x * b_row[j];
    }
  }
  for (index_t i = 0; i < tile_rows; ++i) {
    ELASTIC_SIMD
    for (index_t j = 0; j < lanes; ++j) tile.value[i][j] = sum[i][j];
  }
}
template <class T>
KOKKOS_INLINE_FUNCTION void load(Tile<T>& tile, const T* source, index_t ld) {
  for (index_t i = 0; i < tile_rows; ++i) {
    ELASTIC_SIMD
    for (index_t j = 0; j < lanes; ++j) tile.value[i][j] = source[i * ld + j];
  }
}

/// Scratch memory of a team, from which its tiles are carved.
struct TeamScratch {
  index_t bytes;
  int level;

  explicit TeamScratch(index_t size) : bytes(size), level(scratch_level(size)) {}
  /// A league of `teams` with that much scratch each.
  Kokkos::TeamPolicy<ExecutionSpace> policy(const ExecutionSpace& exec, index_t teams) const {
    Kokkos::TeamPolicy<ExecutionSpace> result(exec, static_cast<int>(teams), Kokkos::AUTO);
    result.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
    return result;
  }
  KOKKOS_INLINE_FUNCTION ScratchCarver carver(const Team& team) const {
    return ScratchCarver(
        team.team_scratch(level).get_shmem_aligned(static_cast<std::size_t>(bytes), 64));
  }
};

/// Checks what all attention functions require: q and out [q_rows, A*C], k and v [B*L', R*C].
template <class T>
void require_attention_shapes(const char* function, const AttentionShape& shape, index_t q_rows,
                              const AttentionInputs<T>& in, const View2<const T>& out) {
  const index_t kv_rows = shape.batch * shape.num_keys();
  ELASTIC_REQUIRE(shape.q_begin >= 0 && shape.q_begin + shape.seq_length <= shape.num_keys(),
                  "{}: {} queries from {} on, {} keys", function, shape.seq_length, shape.q_begin,
                  shape.num_keys());
  ELASTIC_REQUIRE(shape.num_groups > 0 && shape.num_heads % shape.num_groups == 0,
                  "{}: {} heads in {} groups", function, shape.num_heads, shape.num_groups);
  const index_t C = shape.head_dim;
  require_shape(function, "q", in.q, q_rows, shape.num_heads * C);
  require_shape(function, "k", in.k, kv_rows, shape.num_groups * C);
  require_shape(function, "v", in.v, kv_rows, shape.num_groups * C);
  require_shape_or_empty(function, "segment", in.segment, kv_rows);
  require_shape(function, "out", out, q_rows, shape.num_heads * C);
}

template <class A>
void require_workspace(const char* function, const View1<A>& workspace, index_t size) {
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= size,
                  "{}: workspace has {} of {} elements", function, workspace.extent(0), size);
}

/// Multiply-adds of the visible scores per head and channel, over all sequences.
inline double attention_pairs(const AttentionShape& shape) {
  const auto L = static_cast<double>(shape.seq_length), begin = static_cast<double>(shape.q_begin);
  return static_cast<double>(shape.batch * shape.num_heads * shape.head_dim) * L *
         (begin + (L + 1) / 2);
}

}  // namespace elastic::kernels
