// SPDX-License-Identifier: Apache-2.0
// On a host: register tiles of 12 rows by two AVX-512 vectors, over panels of B packed to the width
// of the tile and padded with zeros. Edges are computed by the same code on padded tiles,
// so that all elements round alike. The sum starts from beta c, and alpha is folded into
// the panel. A product over K therefore has the bits of two products over its halves,
// the second added to the first.
//
// On a device: a team per 64 x 64 elements, whose operands go through scratch memory.
#include "kernels/products/gemm_deterministic.hpp"

#include "kernels/whole_vectors.hpp"
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t tile_rows = 12;
template <class A>
constexpr index_t tile_columns = 128 / sizeof(A);
[[maybe_unused]] constexpr index_t block_rows = 8 * tile_rows;  ///< rows that share a packed panel
[[maybe_unused]] constexpr index_t block_depth = 256;           ///< rows of a packed panel: 32 KiB

/// sum[r, j] += sum_k a_r[k * step] panel[k, j]
template <class T>
ELASTIC_WHOLE_VECTORS void multiply_tile(const T* const* a, index_t step,
                                         const Accumulate<T>* panel, index_t depth,
                                         Accumulate<T>* sum) {
  constexpr index_t width = tile_columns<Accumulate<T>>;
  Accumulate<T> tile[tile_rows][width];
  for (index_t r = 0; r < tile_rows; ++r)
    for (index_t j = 0; j < width; ++j) tile[r][j] = sum[r * width + j];
  for (index_t k = 0; k < depth; ++k)
    for (index_t r = 0; r < tile_rows; ++r) {
      const Accumulate<T> a_rk = widen(a[r][k * step]);
      ELASTIC_SIMD
      for (index_t j = 0; j < width; ++j) tile[r][j] += a_rk * panel[k * width + j];
    }
  for (index_t r = 0; r < tile_rows; ++r)
    for (index_t j = 0; j < width; ++j) sum[r * width + j] = tile[r][j];
}

/// panel[k, j] = alpha b(k, j) for `depth` rows; zero past `columns`.
template <class T>
void pack_panel(const StridedMatrix<T>& b, Accumulate<T> alpha, index_t depth, index_t columns,
                Accumulate<T>* panel) {
  constexpr index_t width = tile_columns<Accumulate<T>>;
  for (index_t k = 0; k < depth; ++k) {
    const T* row = &b(k, 0);
    Accumulate<T>* packed = panel + k * width;
    if (columns == width && b.column_stride == 1) {
      ELASTIC_SIMD
      for (index_t j = 0; j < width; ++j) packed[j] = alpha * widen(row[j]);
    } else {
      for (index_t j = 0; j < columns; ++j) packed[j] = alpha * widen(row[j * b.column_stride]);
      for (index_t j = columns; j < width; ++j) packed[j] = 0;
    }
  }
}

/// sum[i, j] = beta c[i, j], zero past the edges: what the products are added to.
template <class C>
void start_sums(Accumulate<C> beta, index_t rows, index_t columns, const C* c, index_t ldc,
                Accumulate<C>* sum) {
  if (beta == 0) return;
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j)
      sum[i * tile_columns<Accumulate<C>> + j] = beta * widen(c[i * ldc + j]);
}

/// c [rows, columns] of one work item; rows <= block_rows, columns <= tile_columns.
template <class T, class C>
void multiply_block(index_t depth, Accumulate<T> alpha, const StridedMatrix<T>& a,
                    const StridedMatrix<T>& b, Accumulate<T> beta, index_t rows, index_t columns,
                    C* c, index_t ldc) {
  constexpr index_t width = tile_columns<Accumulate<T>>;
  alignas(64) Accumulate<T> panel[block_depth * width];
  alignas(64) Accumulate<T> sum[block_rows * width] = {};
  start_sums<C>(beta, rows, columns, c, ldc, sum);
  for (index_t k0 = 0; k0 < depth; k0 += block_depth) {
    const index_t k_count = math::min(block_depth, depth - k0);
    pack_panel<T>({&b(k0, 0), b.row_stride, b.column_stride}, alpha, k_count, columns, panel);
    for (index_t i0 = 0; i0 < rows; i0 += tile_rows) {
      const T* a_rows[tile_rows];
      for (index_t r = 0; r < tile_rows; ++r)
        a_rows[r] = &a(math::min(i0 + r, rows - 1), k0);  // spare rows are discarded
      multiply_tile<T>(a_rows, a.column_stride, panel, k_count, sum + i0 * width);
    }
  }
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j) c[i * ldc + j] = static_cast<C>(sum[i * width + j]);
}

template <class T, class C>
void products_on_host(const ExecutionSpace& exec, BatchCount count, index_t depth,
                      Accumulate<T> alpha, const StridedMatrix<T>& all_a,
                      const StridedMatrix<T>& all_b, Accumulate<T> beta, const MatrixBatch<C>& c) {
  constexpr index_t width = tile_columns<Accumulate<T>>;
  const auto rows = static_cast<index_t>(c.first.extent(0)),
             columns = static_cast<index_t>(c.first.extent(1));
  const index_t blocks_down = (rows + block_rows - 1) / block_rows,
                blocks = blocks_down * ((columns + width - 1) / width);
  const index_t ldc = leading_dimension(c.first);
  Kokkos::parallel_for(
      "elastic::gemm_deterministic", LinearPolicy(exec, 0, count.products() * blocks),
      [=](const index_t item) {
        const index_t product = item / blocks, block = item % blocks;
        const index_t p = product / count.inner, q = product % count.inner;
        const index_t i = block % blocks_down * block_rows, j = block / blocks_down * width;
        const StridedMatrix<T> a = all_a.at(p, q), b = all_b.at(p, q);
        multiply_block<T, C>(depth, alpha, {&a(i, 0), a.row_stride, a.column_stride},
                             {&b(0, j), b.row_stride, b.column_stride}, beta,
                             math::min(block_rows, rows - i), math::min(width, columns - j),
                             c.first.data() + p * c.stride.outer + q * c.stride.inner + i * ldc + j,
                             ldc);
      });
}

/// Tiles of a product in the scratch memory of a team, whose threads own side x side elements each.
/// Sums stay in scratch between two blocks of k: a team may have fewer threads than it has work.
template <class A>
struct DeviceTile {
  static constexpr int extent = sizeof(A) == 4 ? 64 : 32;  ///< rows and columns of C
  static constexpr int depth = 32;                         ///< k at a time
  static constexpr int side = 4;
  static constexpr int across = extent / side, items = across * across;
  static constexpr int ld = extent + 1;  ///< so that neighbours are in other banks
  static constexpr int elements = 2 * depth * ld + extent * extent;
  static constexpr int bytes = elements * static_cast<int>(sizeof(A));
  A* a;    ///< [k, row]
  A* b;    ///< [k, column]
  A* sum;  ///< [side * side, item]
  KOKKOS_INLINE_FUNCTION explicit DeviceTile(A* memory)
      : a(memory), b(a + depth * ld), sum(b + depth * ld) {}
};

/// target[k, i] = f(i, k), zero past the edges. Neighbouring threads read what lies next to each
/// other: rows if `rows_are_neighbours`, else k.
template <class A, class F>
KOKKOS_INLINE_FUNCTION void fill_tile(const Team& team, A* target, bool rows_are_neighbours,
                                      index_t count, index_t depth, const F& f) {
  using Tile = DeviceTile<A>;
  for (int e = team.team_rank(); e < Tile::depth * Tile::extent; e += team.team_size()) {
    const int i = rows_are_neighbours ? e % Tile::extent : e / Tile::depth,
              k = rows_are_neighbours ? e / Tile::extent : e % Tile::depth;
    target[k * Tile::ld + i] = i < count && k < depth ? f(i, k) : A(0);
  }
}

template <class T, class C>
struct DeviceProduct {
  using A = Accumulate<T>;
  using Tile = DeviceTile<A>;
  index_t inner, depth, rows, columns, ldc;
  A alpha, beta;
  StridedMatrix<T> all_a, all_b;
  C* all_c;
  BatchStride stride;

  KOKKOS_INLINE_FUNCTION int down() const {
    return static_cast<int>((rows + Tile::extent - 1) / Tile::extent);
  }
  KOKKOS_INLINE_FUNCTION int wide() const {
    return static_cast<int>((columns + Tile::extent - 1) / Tile::extent);
  }
  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const int tiles = down() * wide(), product = team.league_rank() / tiles,
              block = team.league_rank() % tiles;
    const index_t p = product / inner, q = product % inner;
    const index_t i0 = block % down() * Tile::extent, j0 = block / down() * Tile::extent;
    const StridedMatrix<T> a = all_a.at(p, q), b = all_b.at(p, q);
    C* const c = all_c + p * stride.outer + q * stride.inner + i0 * ldc + j0;
    const index_t m = math::min<index_t>(Tile::extent, rows - i0),
                  n = math::min<index_t>(Tile::extent, columns - j0);
    const Tile tile(static_cast<A*>(
        team.team_scratch(0).get_shmem_aligned(static_cast<std::size_t>(Tile::bytes), 64)));
    each_element(team, tile, m, n, [&](A& sum, int i, int j) {
      sum = beta == 0 ? A(0) : beta * widen(c[i * ldc + j]);
    });
    for (index_t k0 = 0; k0 < depth; k0 += Tile::depth) {
      const index_t count = math::min<index_t>(Tile::depth, depth - k0);
      team.team_barrier();
      fill_tile(team, tile.a, a.column_stride != 1, m, count,
                [&](int i, int k) { return widen(a(i0 + i, k0 + k)); });
      fill_tile(team, tile.b, b.column_stride == 1, n, count,
                [&](int j, int k) { return alpha * widen(b(k0 + k, j0 + j)); });
      team.team_barrier();
      multiply(team, tile, static_cast<int>(count));
    }
    each_element(team, tile, m, n,
                 [&](const A sum, int i, int j) { c[i * ldc + j] = static_cast<C>(sum); });
  }

  /// Calls f(sum, row, column) for the elements of C in this tile.
  template <class F>
  KOKKOS_INLINE_FUNCTION static void each_element(const Team& team, const Tile& tile, index_t m,
                                                  index_t n, const F& f) {
    for (int item = team.team_rank(); item < Tile::items; item += team.team_size())
      for (int e = 0; e < Tile::side * Tile::side; ++e) {
        const int i = item / Tile::across + e / Tile::side * Tile::across,
                  j = item % Tile::across + e % Tile::side * Tile::across;
        if (i < m && j < n) f(tile.sum[e * Tile::items + item], i, j);
      }
  }
  /// sum += a b over `count` k in rising order.
  KOKKOS_INLINE_FUNCTION static void multiply(const Team& team, const Tile& tile, int count) {
    constexpr int side = Tile::side, across = Tile::across;
    for (int item = team.team_rank(); item < Tile::items; item += team.team_size()) {
      A sum[side][side];
      for (int u = 0; u < side; ++u)
        for (int v = 0; v < side; ++v) sum[u][v] = tile.sum[(u * side + v) * Tile::items + item];
      const A *a = tile.a + item / across, *b = tile.b + item % across;
      for (int k = 0; k < count; ++k, a += Tile::ld, b += Tile::ld)
        for (int u = 0; u < side; ++u)
          for (int v = 0; v < side; ++v) sum[u][v] += a[u * across] * b[v * across];
      for (int u = 0; u < side; ++u)
        for (int v = 0; v < side; ++v) tile.sum[(u * side + v) * Tile::items + item] = sum[u][v];
    }
  }
};

template <class T, class C>
void products_on_device(const ExecutionSpace& exec, BatchCount count, index_t depth,
                        Accumulate<T> alpha, const StridedMatrix<T>& a, const StridedMatrix<T>& b,
                        Accumulate<T> beta, const MatrixBatch<C>& c) {
  using Tile = DeviceTile<Accumulate<T>>;
  const DeviceProduct<T, C> body{count.inner,
                                 depth,
                                 static_cast<index_t>(c.first.extent(0)),
                                 static_cast<index_t>(c.first.extent(1)),
                                 leading_dimension(c.first),
                                 alpha,
                                 beta,
                                 a,
                                 b,
                                 c.first.data(),
                                 c.stride};
  const index_t teams = count.products() * body.down() * body.wide();
  Kokkos::parallel_for(
      "elastic::gemm_deterministic",
      thread_teams(exec, teams, Tile::items).set_scratch_size(0, Kokkos::PerTeam(Tile::bytes + 64)),
      body);
}

}  // namespace

template <class T, class C>
void deterministic_products(const ExecutionSpace& exec, BatchCount count, index_t depth,
                            Accumulate<T> alpha, StridedMatrix<T> a, StridedMatrix<T> b,
                            Accumulate<T> beta, std::type_identity_t<MatrixBatch<C>> c) {
  if constexpr (on_host)
    products_on_host<T, C>(exec, count, depth, alpha, a, b, beta, c);
  else
    products_on_device<T, C>(exec, count, depth, alpha, a, b, beta, c);
}

template <class T, class C>
void deterministic_product(const ExecutionSpace& exec, index_t depth, Accumulate<T> alpha,
                           StridedMatrix<T> a, StridedMatrix<T> b, Accumulate<T> beta,
                           std::type_identity_t<View2<C>> c) {
  deterministic_products<T, C>(exec, {}, depth, alpha, a, b, beta, {c});
}

#define ELASTIC_INSTANTIATE(T, C)                                                               \
  template void deterministic_product<T, C>(const ExecutionSpace&, index_t, Accumulate<T>,      \
                                            StridedMatrix<T>, StridedMatrix<T>, Accumulate<T>,  \
                                            View2<C>);                                          \
  template void deterministic_products<T, C>(const ExecutionSpace&, BatchCount, index_t,        \
                                             Accumulate<T>, StridedMatrix<T>, StridedMatrix<T>, \
                                             Accumulate<T>, MatrixBatch<C>);
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
