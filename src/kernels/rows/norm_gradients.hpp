// SPDX-License-Identifier: Apache-2.0
// Parameter gradients of the two norms: each block of tokens sums its own in the workspace,
// then blocks are added in order (on a device: by a tree).
//
// On a device the backward is two launches: one forms the sum of every row (and group), the other
// goes over tiles of 64 rows and 32 packs of columns and forms everything else.
// Internal to kernels/rows/rmsnorm.cpp and kernels/rows/gated_rmsnorm.cpp.
#pragma once
#include "kernels/rows/column_sums.hpp"

namespace elastic::kernels {

/// The sums of one block: weight and mask [width], scale [groups].
template <class T>
struct NormGradients {
  T *weight, *mask, *scale;
  index_t size;
  KOKKOS_INLINE_FUNCTION NormGradients(T* workspace, index_t block, index_t width, index_t groups)
      : weight(workspace + block * (2 * width + groups)),
        mask(weight + width),
        scale(mask + width),
        size(2 * width + groups) {}
  KOKKOS_INLINE_FUNCTION void clear() const {
    for (index_t i = 0; i < size; ++i) weight[i] = T(0);
  }
};

/// The blocks, and on a device the sums of rows [tokens, groups] after them.
inline index_t norm_gradients_size(index_t tokens, index_t width, index_t groups = 1) {
  return num_row_blocks(tokens) * (2 * width + groups) + (on_host ? 0 : tokens * groups);
}

/// total_j += sum_b partial[b * stride + j] over blocks b.
template <class T>
struct BlockTerms {
  const T* partial;
  index_t stride;
  KOKKOS_INLINE_FUNCTION void operator()(index_t b, index_t j, int count, Pack<T>& sum) const {
    const Pack<T> terms = load_pack(partial + b * stride + j, count, false);
    for (int i = 0; i < pack_size; ++i) sum[i] += terms[i];
  }
};
template <class T>
void add_blocks(const ExecutionSpace& exec, const T* partial, index_t blocks, index_t stride,
                const View1<T>& total) {
  if constexpr (on_host)
    add_block_sums<T>(exec, partial, blocks, stride, total);
  else
    add_column_sums<T>(exec, "elastic::add_block_sums", blocks, BlockTerms<T>{partial, stride},
                       total);
}
/// Adds all blocks to dweight, dmask [width] and dscale [groups] of the gradients, where not empty.
template <class T, class Gradients>
void add_norm_gradients(const ExecutionSpace& exec, const View1<T>& workspace, index_t blocks,
                        index_t width, const Gradients& gradients, index_t groups = 1) {
  const NormGradients<T> first(workspace.data(), 0, width, groups);
  const index_t stride = first.size;
  add_blocks<T>(exec, first.weight, blocks, stride, gradients.dweight);
  add_blocks<T>(exec, first.mask, blocks, stride, gradients.dmask);
  add_blocks<T>(exec, first.scale, blocks, stride, gradients.dscale);
}

/// The packs of a row that consists of heads; none crosses from one head to the next.
struct HeadPacks {
  index_t head_dim, packs_of_head, count;

  HeadPacks(index_t heads, index_t head_dim_)
      : head_dim(head_dim_), packs_of_head(num_packs(head_dim_)), count(heads * packs_of_head) {}
  KOKKOS_INLINE_FUNCTION index_t head(index_t pack) const { return pack / packs_of_head; }
  KOKKOS_INLINE_FUNCTION index_t column(index_t pack) const {
    return head(pack) * head_dim + pack % packs_of_head * pack_size;
  }
  KOKKOS_INLINE_FUNCTION int size(index_t pack) const {
    return static_cast<int>(
        math::min<index_t>(pack_size, head_dim - pack % packs_of_head * pack_size));
  }
};

/// The second launch of a backward on a device.
///
///   body.channels(column, count, head)      what a lane knows of its channels, in all rows
///   body.row(t, channels, weight, mask)     writes the gradients of row t, adds to the two Packs
///   body.scale_term(t, group)               the row's part of dscale
template <class A, class Body>
struct NormTiles {
  static constexpr int threads = row_threads, packs = device_lanes, width = packs * pack_size;
  Body body;
  HeadPacks row;
  index_t tokens, columns, groups;
  A* workspace;

  KOKKOS_INLINE_FUNCTION static constexpr index_t scratch_bytes() {
    return static_cast<index_t>(sizeof(A)) * 2 * threads * width;
  }
  index_t across() const { return (row.count + packs - 1) / packs; }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    A* const part = static_cast<A*>(
        team.team_scratch(0).get_shmem_aligned(static_cast<std::size_t>(scratch_bytes()), 64));
    const index_t runs = (row.count + packs - 1) / packs,
                  block = static_cast<index_t>(team.league_rank()) / runs,
                  run = static_cast<index_t>(team.league_rank()) % runs;
    const index_t first = block * rows_per_block, end = math::min(tokens, first + rows_per_block);
    const NormGradients<A> sums(workspace, block, columns, groups);
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, threads * packs), [&](const int i) {
      walk(first + i / packs, end, run * packs + i % packs, part + i);
    });
    team.team_barrier();
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, packs * pack_size), [&](const int i) {
      const index_t pack = run * packs + i / pack_size;
      if (pack >= row.count || i % pack_size >= row.size(pack)) return;
      const index_t column = row.column(pack) + i % pack_size;
      const A* const own = part + i % pack_size * (threads * packs) + i / pack_size;
      sums.weight[column] = added(own);
      sums.mask[column] = added(own + pack_size * threads * packs);
    });
    if (run != 0) return;
    for (index_t group = 0; group < groups; ++group) {
      A scale = 0;
      Kokkos::parallel_reduce(
          Kokkos::TeamVectorRange(team, end - first),
          [&](const index_t t, A& sum) { sum += body.scale_term(first + t, group); }, scale);
      Kokkos::single(Kokkos::PerTeam(team), [&]() { sums.scale[group] = scale; });
    }
  }

 private:
  /// A lane's sums over every eighth row of the tile: value i at sums[i * threads * packs], those
  /// of the mask after those of the weight.
  KOKKOS_INLINE_FUNCTION void walk(index_t t, index_t end, index_t pack, A* sums) const {
    Pack<A> weight = {}, mask = {};
    if (pack < row.count) {
      const auto channels = body.channels(row.column(pack), row.size(pack), row.head(pack));
      for (; t < end; t += threads) body.row(t, channels, weight, mask);
    }
    for (int i = 0; i < pack_size; ++i) {
      sums[i * threads * packs] = weight[i];
      sums[(pack_size + i) * threads * packs] = mask[i];
    }
  }
  KOKKOS_INLINE_FUNCTION static A added(const A* part) {
    A sum[threads];
    for (int i = 0; i < threads; ++i) sum[i] = part[i * packs];
    return sum_of_lanes(sum);
  }
};

template <class A, class Body>
void for_norm_tiles(const ExecutionSpace& exec, const char* label,
                    const NormTiles<A, Body>& tiles) {
  if (tiles.tokens == 0 || tiles.row.count == 0) return;
  auto policy = device_teams(exec, num_row_blocks(tiles.tokens) * tiles.across(),
                             NormTiles<A, Body>::threads);
  policy.set_scratch_size(0, Kokkos::PerTeam(static_cast<int>(tiles.scratch_bytes() + 64)));
  Kokkos::parallel_for(label, policy, tiles);
}

}  // namespace elastic::kernels
