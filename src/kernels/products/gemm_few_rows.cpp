// SPDX-License-Identifier: Apache-2.0
// A work item owns some rows of the weight and computes their dot products with all rows of A: two
// rows of the weight with up to three of A at a time. Term k of a sum belongs to lane k % 32; lanes
// are combined in a tree.
//
// The weight comes from memory, and one core alone waits for it: lines are asked for some distance
// ahead, at the end of a row from the rows that come next (of a submodel, whose rows are prefixes,
// what lies behind them is never read).
#include "kernels/products/gemm_few_rows.hpp"

#include "kernels/products/few_rows_tiles.hpp"
#include "kernels/rows/row_loops.hpp"
#include "kernels/whole_vectors.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t lanes = 32;
constexpr index_t rows_at_once =
    3;  // 3 x 2 sums of 32 lanes still fit into the registers of AVX-512
constexpr index_t weight_rows_at_once = 2;
constexpr index_t weight_rows_per_item = 16;
constexpr index_t bytes_ahead = 2048, line = 64;

/// Some rows of a matrix, `stride` elements apart.
template <class T>
struct Rows {
  const T* first;
  index_t stride;
};

/// Asks for the lines that the sums over k need `bytes_ahead` later: of these rows of the weight,
/// or of the next ones.
template <index_t count, class T>
inline void fetch_ahead(Rows<T> b, index_t k, index_t depth) {
  const index_t later = k + bytes_ahead / static_cast<index_t>(sizeof(T));
  const T* place = later < depth ? b.first + later : b.first + count * b.stride + later - depth;
  for (index_t j = 0; j < count; ++j)
    for (index_t byte = 0; byte < lanes * static_cast<index_t>(sizeof(T)); byte += line)
      __builtin_prefetch(reinterpret_cast<const char*>(place + j * b.stride) + byte);
}

/// out[r][j] = a_r . b_j
template <index_t count_a, index_t count_b, class T>
inline void dot_products(Rows<T> a, Rows<T> b, index_t depth, bool first,
                         Accumulate<T> (*out)[weight_rows_at_once]) {
  Accumulate<T> sum[count_a][count_b][lanes] = {};
  const index_t whole = depth / lanes * lanes;
  for (index_t k = 0; k < whole; k += lanes) {
    if (first) fetch_ahead<count_b>(b, k, depth);
    for (index_t r = 0; r < count_a; ++r)
      for (index_t j = 0; j < count_b; ++j) {
        ELASTIC_SIMD
        for (index_t lane = 0; lane < lanes; ++lane)
          sum[r][j][lane] +=
              widen(a.first[r * a.stride + k + lane]) * widen(b.first[j * b.stride + k + lane]);
      }
  }
  for (index_t r = 0; r < count_a; ++r)
    for (index_t j = 0; j < count_b; ++j) {
      if (whole == depth) {
        out[r][j] = sum_of_lanes(sum[r][j]);
        continue;
      }
      Accumulate<T>
          total[lanes];  // with other subscripts than constants, sum would leave registers
      for (index_t lane = 0; lane < lanes; ++lane) total[lane] = sum[r][j][lane];
      for (index_t k = whole; k < depth; ++k)
        total[k - whole] += widen(a.first[r * a.stride + k]) * widen(b.first[j * b.stride + k]);
      out[r][j] = sum_of_lanes(total);
    }
}

/// For any number of rows of A up to rows_at_once.
template <index_t count_b, class T>
inline void dot_products(index_t count_a, Rows<T> a, Rows<T> b, index_t depth, bool first,
                         Accumulate<T> (*out)[weight_rows_at_once]) {
  switch (count_a) {
    case 1:
      return dot_products<1, count_b>(a, b, depth, first, out);
    case 2:
      return dot_products<2, count_b>(a, b, depth, first, out);
    default:
      return dot_products<rows_at_once, count_b>(a, b, depth, first, out);
  }
}

/// Columns j to j + count_b of c, in pieces of rows of A that differ by one at most.
template <index_t count_b, class T, class C>
ELASTIC_WHOLE_VECTORS void columns_of_product(index_t j, Accumulate<T> alpha, const In2<T>& a,
                                              const In2<T>& b, Accumulate<T> beta,
                                              const InOut2<C>& c) {
  const auto m = static_cast<index_t>(c.extent(0)), depth = static_cast<index_t>(a.extent(1));
  const index_t pieces = (m + rows_at_once - 1) / rows_at_once;
  Accumulate<T> dot[few_rows][weight_rows_at_once];
  for (index_t piece = 0; piece < pieces; ++piece) {
    const index_t begin = m * piece / pieces, end = m * (piece + 1) / pieces;
    dot_products<count_b, T>(end - begin, {&a(begin, 0), leading_dimension(a)},
                             {&b(j, 0), leading_dimension(b)}, depth, piece == 0, dot + begin);
  }
  for (index_t i = 0; i < m; ++i)
    for (index_t n = 0; n < count_b; ++n) {
      C& value = c(i, j + n);
      value =
          static_cast<C>(beta == 0 ? alpha * dot[i][n] : alpha * dot[i][n] + beta * widen(value));
    }
}

template <class T, class C>
void product_on_host(const ExecutionSpace& exec, Accumulate<T> alpha, In2<T> a, In2<T> b,
                     Accumulate<T> beta, InOut2<C> c) {
  const auto n = static_cast<index_t>(c.extent(1));
  const index_t items = (n + weight_rows_per_item - 1) / weight_rows_per_item;
  Kokkos::parallel_for("elastic::gemm_few_rows", LinearPolicy(exec, 0, items),
                       [=](const index_t item) {
                         const index_t begin = item * weight_rows_per_item,
                                       end = math::min(n, begin + weight_rows_per_item);
                         index_t j = begin;
                         for (; j + weight_rows_at_once <= end; j += weight_rows_at_once)
                           columns_of_product<weight_rows_at_once, T, C>(j, alpha, a, b, beta, c);
                         for (; j < end; ++j) columns_of_product<1, T, C>(j, alpha, a, b, beta, c);
                       });
}

}  // namespace

template <class T, class C>
void few_rows_product(const ExecutionSpace& exec, Accumulate<T> alpha, In2<T> a, In2<T> b,
                      Accumulate<T> beta, InOut2<C> c) {
  const auto m = static_cast<index_t>(c.extent(0));
  ELASTIC_REQUIRE(m <= few_rows, "few_rows_product: {} rows", m);
  if constexpr (std::is_same_v<T, bfloat16>)
    if (few_rows_by_tiles_takes(static_cast<index_t>(a.extent(1))))
      return few_rows_by_tiles<C>(exec, alpha, a, b, beta, c);
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    product_on_host<T, C>(exec, alpha, a, b, beta, c);
  else
    throw ContractError("few_rows_product: a route of hosts");
}

#define ELASTIC_INSTANTIATE(T, C)                                                            \
  template void few_rows_product<T, C>(const ExecutionSpace&, Accumulate<T>, In2<T>, In2<T>, \
                                       Accumulate<T>, InOut2<C>);
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
