// SPDX-License-Identifier: Apache-2.0
// B is packed once into panels of 32 columns. A thread then packs blocks of 256 x 256 of A, which
// stay in its second cache together with the rows of C that they are added to, while panel after
// panel passes through the first. Measured best on AMX with 2 MiB of second cache.
#include "kernels/products/weight_gradient_product.hpp"

#include "kernels/products/matrix_tiles.hpp"
#include "kernels/products/thread_scratch.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t block_depth = 256;  ///< of k
constexpr index_t panel = 2 * matrix_tile;
constexpr index_t least_extent = 256;  ///< below, packing costs what the product gains

/// One product, cut into pieces of k, panels of B and blocks of rows.
struct Blocks {
  index_t m, n, depth;
  StridedMatrix<bfloat16> a, b;
  float beta;
  float* c;
  index_t ldc;
  bfloat16* packed_b;  ///< [pieces of k][panels][block_depth / 2, 32, 2]

  index_t panels() const { return (n + panel - 1) / panel; }
  bfloat16* panel_of(index_t piece, index_t j) const {
    return packed_b + (piece * panels() + j) * block_depth * panel;
  }
  void pack_panel(index_t piece, index_t j) const {
    const index_t k = piece * block_depth;
    pack_pairs(panel_of(piece, j), panel, &b(k, j * panel), b.row_stride,
               math::min(block_depth, depth - k), n - j * panel);
  }
  /// Rows [first, first + rows) of C += the product over one piece of k.
  void multiply_rows(const MatrixTiles& tiles, index_t piece, index_t first, index_t rows,
                     bfloat16* packed_a) const {
    const index_t k = piece * block_depth, count = math::min(block_depth, depth - k),
                  deep = padded_depth(count);
    pack_rows_transposed(packed_a, deep, &a(first, k), a.column_stride, rows, count);
    for (index_t j = 0; j < panels(); ++j)
      for (index_t i = 0; i < rows; i += panel) {
        const MatrixTiles::Extents extents{math::min(panel, rows - i),
                                           math::min(panel, n - j * panel), deep};
        const bfloat16 *of_a = packed_a + i * deep, *of_b = panel_of(piece, j);
        float* const target = c + (first + i) * ldc + j * panel;
        if (k == 0 && beta == 0)
          tiles.multiply(extents, of_a, deep, of_b, panel, target, ldc);
        else
          tiles.multiply_add(extents, of_a, deep, of_b, panel, target, ldc);
      }
  }
};

using Items = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>,
                                  Kokkos::Schedule<Kokkos::Dynamic>>;
}  // namespace

bool suits_weight_gradient_product(index_t m, index_t n, index_t depth,
                                   const StridedMatrix<bfloat16>& a,
                                   const StridedMatrix<bfloat16>& b) {
  const bool shaped = a.row_stride == 1 && a.column_stride != 1 && b.column_stride == 1;
  return std::is_same_v<MemorySpace, HostSpace> && shaped && m % matrix_tile == 0 &&
         n % matrix_tile == 0 && math::min(m, n) >= least_extent && depth >= least_extent &&
         has_matrix_units();
}

void weight_gradient_product([[maybe_unused]] const ExecutionSpace& exec,
                             [[maybe_unused]] index_t depth,
                             [[maybe_unused]] const StridedMatrix<bfloat16>& a,
                             [[maybe_unused]] const StridedMatrix<bfloat16>& b,
                             [[maybe_unused]] float beta, [[maybe_unused]] const View2<float>& c) {
  if constexpr (std::is_same_v<MemorySpace, HostSpace>) {
    thread_local ThreadScratch scratch_of_b;
    const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1));
    const index_t pieces = (depth + block_depth - 1) / block_depth,
                  block_rows = exec.concurrency() == 1 ? 256 : 64;
    Blocks blocks{m, n, depth, a, b, beta, c.data(), leading_dimension(c), nullptr};
    blocks.packed_b =
        scratch_of_b.elements<bfloat16>(pieces * blocks.panels() * block_depth * panel);
    Kokkos::parallel_for("elastic::gemm_pack", Items(exec, 0, pieces * blocks.panels()),
                         [=](const index_t item) {
                           blocks.pack_panel(item / blocks.panels(), item % blocks.panels());
                         });
    Kokkos::parallel_for(
        "elastic::gemm_weight_gradient", Items(exec, 0, (m + block_rows - 1) / block_rows),
        [=](const index_t item) {
          thread_local ThreadScratch scratch_of_a;
          bfloat16* const packed_a = scratch_of_a.elements<bfloat16>(block_rows * block_depth);
          const MatrixTiles tiles;
          const index_t first = item * block_rows;
          for (index_t piece = 0; piece < pieces; ++piece)
            blocks.multiply_rows(tiles, piece, first, math::min(block_rows, m - first), packed_a);
        });
  }
}

}  // namespace elastic::kernels
