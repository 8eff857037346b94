// SPDX-License-Identifier: Apache-2.0
// A work item computes 64 columns of c at a time, from as many rows of the weight. The tiles read
// 64 bytes from each of these rows in turn, an order in which no processor fetches memory ahead:
// the rows of the next columns are asked for one after the other before.
#include "kernels/products/few_rows_tiles.hpp"

#include "kernels/products/matrix_tiles.hpp"
#include "kernels/products/thread_scratch.hpp"
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t block = 4 * matrix_tile;  // columns of c at once
constexpr index_t blocks_per_item = 4;
constexpr index_t line = 64;  // bytes

/// Rows of the weight, `stride` elements apart.
struct Weight {
  const bfloat16* first;
  index_t rows, stride, depth;
};

/// Asks for rows [begin, end).
inline void fetch_rows(const Weight& weight, index_t begin, index_t end) {
  for (index_t row = begin; row < math::min(end, weight.rows); ++row) {
    const auto* const place = reinterpret_cast<const char*>(weight.first + row * weight.stride);
    for (index_t byte = 0; byte < weight.depth * static_cast<index_t>(sizeof(bfloat16));
         byte += line)
      __builtin_prefetch(place + byte, 0, 2);  // into the second cache
  }
}

/// sums [block, 16] = rows [begin, begin + block) of the weight times the packed rows of A.
inline void multiply_block(const MatrixTiles& tiles, const Weight& weight, index_t begin,
                           const bfloat16* packed, float* sums) {
  const index_t count = math::min(block, weight.rows - begin),
                whole = count / matrix_tile * matrix_tile;
  const bfloat16* const rows = weight.first + begin * weight.stride;
  tiles.multiply({whole, matrix_tile, weight.depth}, rows, weight.stride, packed, matrix_tile, sums,
                 matrix_tile);
  if (whole == count) return;
  thread_local ThreadScratch scratch;  // the last rows, with others of zeros up to a tile
  bfloat16* const last = scratch.elements<bfloat16>(matrix_tile * weight.depth);
  for (index_t i = 0; i < matrix_tile; ++i)
    for (index_t k = 0; k < weight.depth; ++k)
      last[i * weight.depth + k] =
          whole + i < count ? rows[(whole + i) * weight.stride + k] : bfloat16(0.0f);
  tiles.multiply({matrix_tile, matrix_tile, weight.depth}, last, weight.depth, packed, matrix_tile,
                 sums + whole * matrix_tile, matrix_tile);
}

}  // namespace

bool few_rows_by_tiles_takes(index_t depth) {
  return std::is_same_v<MemorySpace, HostSpace> && depth % matrix_depth == 0 && has_matrix_units();
}

template <class C>
void few_rows_by_tiles([[maybe_unused]] const ExecutionSpace& exec, [[maybe_unused]] float alpha,
                       [[maybe_unused]] In2<bfloat16> a, [[maybe_unused]] In2<bfloat16> b,
                       [[maybe_unused]] float beta, [[maybe_unused]] InOut2<C> c) {
  if constexpr (std::is_same_v<MemorySpace, HostSpace>) {
    thread_local ThreadScratch scratch_of_a;
    const auto m = static_cast<index_t>(c.extent(0));
    const Weight weight{b.data(), static_cast<index_t>(c.extent(1)), leading_dimension(b),
                        static_cast<index_t>(a.extent(1))};
    bfloat16* const packed = scratch_of_a.elements<bfloat16>(matrix_tile * weight.depth);
    pack_pairs_transposed(packed, matrix_tile, a.data(), leading_dimension(a), weight.depth, m);
    constexpr index_t rows_per_item = block * blocks_per_item;
    Kokkos::parallel_for("elastic::gemm_few_rows",
                         LinearPolicy(exec, 0, (weight.rows + rows_per_item - 1) / rows_per_item),
                         [=](const index_t item) {
                           const MatrixTiles tiles;
                           alignas(64) float sums[block * matrix_tile];
                           const index_t first = item * rows_per_item,
                                         last = math::min(weight.rows, first + rows_per_item);
                           for (index_t j = first; j < last; j += block) {
                             fetch_rows(weight, j + block, j + 2 * block);
                             multiply_block(tiles, weight, j, packed, sums);
                             for (index_t i = 0; i < m; ++i)
                               for (index_t n = j; n < math::min(last, j + block); ++n) {
                                 C& value = c(i, n);
                                 const float sum = alpha * sums[(n - j) * matrix_tile + i];
                                 value =
                                     static_cast<C>(beta == 0 ? sum : sum + beta * widen(value));
                               }
                           }
                         });
  } else {
    throw ContractError("few_rows_by_tiles: a route of hosts");
  }
}

template void few_rows_by_tiles<bfloat16>(const ExecutionSpace&, float, In2<bfloat16>,
                                          In2<bfloat16>, float, InOut2<bfloat16>);
template void few_rows_by_tiles<float>(const ExecutionSpace&, float, In2<bfloat16>, In2<bfloat16>,
                                       float, InOut2<float>);

}  // namespace elastic::kernels
