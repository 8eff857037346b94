// SPDX-License-Identifier: Apache-2.0
// On a host: register tiles of 12 rows by two AVX-512 vectors, over panels of B packed to the width
// of the tile and padded with zeros. Edges are computed by the same code on padded tiles, so that
// all elements round alike. The sum starts from beta c and alpha is folded into the panel: a
// product over K and two products over its halves, the second added to the first, give the same
// bits.
#include "kernels/gemm_deterministic.hpp"

#include "kernels/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t tile_rows = 12;
template <class S>
constexpr index_t tile_columns = 128 / sizeof(S);
constexpr index_t block_rows = 8 * tile_rows;  ///< rows that share a packed panel
constexpr index_t block_depth = 256;           ///< rows of a packed panel: 32 KiB

/// sum[r, j] += sum_k a_r[k * step] panel[k, j]
template <class S>
void multiply_tile(const S* const* a, index_t step, const S* panel, index_t depth, S* sum) {
  constexpr index_t width = tile_columns<S>;
  S tile[tile_rows][width];
  for (index_t r = 0; r < tile_rows; ++r)
    for (index_t j = 0; j < width; ++j) tile[r][j] = sum[r * width + j];
  for (index_t k = 0; k < depth; ++k)
    for (index_t r = 0; r < tile_rows; ++r) {
      const S a_rk = a[r][k * step];
      ELASTIC_SIMD
      for (index_t j = 0; j < width; ++j) tile[r][j] += a_rk * panel[k * width + j];
    }
  for (index_t r = 0; r < tile_rows; ++r)
    for (index_t j = 0; j < width; ++j) sum[r * width + j] = tile[r][j];
}

/// panel[k, j] = alpha b(k, j) for `depth` rows; zero past `columns`.
template <class S>
void pack_panel(const StridedMatrix<S>& b, S alpha, index_t depth, index_t columns, S* panel) {
  constexpr index_t width = tile_columns<S>;
  for (index_t k = 0; k < depth; ++k) {
    const S* row = &b(k, 0);
    S* packed = panel + k * width;
    if (columns == width && b.column_stride == 1) {
      ELASTIC_SIMD
      for (index_t j = 0; j < width; ++j) packed[j] = alpha * row[j];
    } else {
      for (index_t j = 0; j < columns; ++j) packed[j] = alpha * row[j * b.column_stride];
      for (index_t j = columns; j < width; ++j) packed[j] = S(0);
    }
  }
}

/// sum[i, j] = beta c[i, j], zero past the edges: what the products are added to.
template <class S>
void start_sums(S beta, index_t rows, index_t columns, const S* c, index_t ldc, S* sum) {
  if (beta == S(0)) return;
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j) sum[i * tile_columns<S> + j] = beta * c[i * ldc + j];
}

/// c [rows, columns] of one work item; rows <= block_rows, columns <= tile_columns.
template <class S>
void multiply_block(index_t depth, S alpha, const StridedMatrix<S>& a, const StridedMatrix<S>& b,
                    S beta, index_t rows, index_t columns, S* c, index_t ldc) {
  constexpr index_t width = tile_columns<S>;
  alignas(64) S panel[block_depth * width];
  alignas(64) S sum[block_rows * width] = {};
  start_sums(beta, rows, columns, c, ldc, sum);
  for (index_t k0 = 0; k0 < depth; k0 += block_depth) {
    const index_t k_count = math::min(block_depth, depth - k0);
    pack_panel<S>({&b(k0, 0), b.row_stride, b.column_stride}, alpha, k_count, columns, panel);
    for (index_t i0 = 0; i0 < rows; i0 += tile_rows) {
      const S* a_rows[tile_rows];
      for (index_t r = 0; r < tile_rows; ++r)
        a_rows[r] = &a(math::min(i0 + r, rows - 1), k0);  // spare rows are discarded
      multiply_tile(a_rows, a.column_stride, panel, k_count, sum + i0 * width);
    }
  }
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j) c[i * ldc + j] = sum[i * width + j];
}

template <class S>
void product_on_host(const ExecutionSpace& exec, index_t depth, S alpha, const StridedMatrix<S>& a,
                     const StridedMatrix<S>& b, S beta, const View2<S>& c) {
  constexpr index_t width = tile_columns<S>;
  const auto rows = static_cast<index_t>(c.extent(0)), columns = static_cast<index_t>(c.extent(1));
  const index_t blocks_down = (rows + block_rows - 1) / block_rows,
                blocks_across = (columns + width - 1) / width;
  const index_t ldc = leading_dimension(c);
  Kokkos::parallel_for(
      "elastic::gemm_deterministic", LinearPolicy(exec, 0, blocks_down * blocks_across),
      [=](const index_t block) {
        const index_t i = block % blocks_down * block_rows, j = block / blocks_down * width;
        multiply_block<S>(depth, alpha, {&a(i, 0), a.row_stride, a.column_stride},
                          {&b(0, j), b.row_stride, b.column_stride}, beta,
                          math::min(block_rows, rows - i), math::min(width, columns - j),
                          c.data() + i * ldc + j, ldc);
      });
}

/// One thread for each element.
template <class S>
void product_on_device(const ExecutionSpace& exec, index_t depth, S alpha,
                       const StridedMatrix<S>& a, const StridedMatrix<S>& b, S beta,
                       const View2<S>& c) {
  const auto columns = static_cast<index_t>(c.extent(1));
  Kokkos::parallel_for(
      "elastic::gemm_deterministic",
      LinearPolicy(exec, 0, static_cast<index_t>(c.extent(0)) * columns),
      KOKKOS_LAMBDA(const index_t element) {
        const index_t i = element / columns, j = element % columns;
        S sum = beta == S(0) ? S(0) : beta * c(i, j);
        for (index_t k = 0; k < depth; ++k) sum += a(i, k) * (alpha * b(k, j));
        c(i, j) = sum;
      });
}

}  // namespace

template <class S>
void deterministic_product(const ExecutionSpace& exec, index_t depth, std::type_identity_t<S> alpha,
                           StridedMatrix<S> a, StridedMatrix<S> b, std::type_identity_t<S> beta,
                           const View2<S>& c) {
  if constexpr (host_loops)
    product_on_host<S>(exec, depth, alpha, a, b, beta, c);
  else
    product_on_device<S>(exec, depth, alpha, a, b, beta, c);
}

template void deterministic_product<float>(const ExecutionSpace&, index_t, float,
                                           StridedMatrix<float>, StridedMatrix<float>, float,
                                           const View2<float>&);
template void deterministic_product<double>(const ExecutionSpace&, index_t, double,
                                            StridedMatrix<double>, StridedMatrix<double>, double,
                                            const View2<double>&);

}  // namespace elastic::kernels
