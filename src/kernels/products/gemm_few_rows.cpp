// SPDX-License-Identifier: Apache-2.0
// A work item owns some rows of the weight and computes their dot products with all rows of A, four
// at a time. Term k of a sum belongs to lane k % 32; lanes are combined in a tree.
#include "kernels/products/gemm_few_rows.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t lanes = 32;
constexpr index_t rows_at_once = 4;
constexpr index_t weight_rows_per_item = 16;

/// out[r] = a_r . b for `count` rows of A that are lda apart.
template <index_t count, class T>
inline void dot_products(const T* a, index_t lda, const T* b, index_t depth, Accumulate<T>* out) {
  Accumulate<T> sum[count][lanes] = {};
  const index_t whole = depth / lanes * lanes;
  for (index_t k = 0; k < whole; k += lanes)
    for (index_t r = 0; r < count; ++r) {
      ELASTIC_SIMD
      for (index_t lane = 0; lane < lanes; ++lane)
        sum[r][lane] += widen(a[r * lda + k + lane]) * widen(b[k + lane]);
    }
  for (index_t r = 0; r < count; ++r) {
    for (index_t k = whole; k < depth; ++k)
      sum[r][k - whole] += widen(a[r * lda + k]) * widen(b[k]);
    fold_lanes<lanes>(sum[r]);
    out[r] = sum[r][0];
  }
}

template <class T, class C>
void product_on_host(const ExecutionSpace& exec, Accumulate<T> alpha, In2<T> a, In2<T> b,
                     Accumulate<T> beta, InOut2<C> c) {
  const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1)),
             depth = static_cast<index_t>(a.extent(1)), lda = leading_dimension(a);
  ELASTIC_REQUIRE(m <= few_rows, "few_rows_product: {} rows", m);
  const index_t items = (n + weight_rows_per_item - 1) / weight_rows_per_item;
  Kokkos::parallel_for(
      "elastic::gemm_few_rows", LinearPolicy(exec, 0, items), [=](const index_t item) {
        const index_t begin = item * weight_rows_per_item,
                      end = math::min(n, begin + weight_rows_per_item);
        for (index_t j = begin; j < end; ++j) {
          Accumulate<T> dot[few_rows];
          index_t i = 0;
          for (; i + rows_at_once <= m; i += rows_at_once)
            dot_products<rows_at_once>(&a(i, 0), lda, &b(j, 0), depth, dot + i);
          for (; i < m; ++i) dot_products<1>(&a(i, 0), lda, &b(j, 0), depth, dot + i);
          for (i = 0; i < m; ++i)
            c(i, j) =
                static_cast<C>(beta == 0 ? alpha * dot[i] : alpha * dot[i] + beta * widen(c(i, j)));
        }
      });
}

}  // namespace

template <class T, class C>
void few_rows_product(const ExecutionSpace& exec, Accumulate<T> alpha, In2<T> a, In2<T> b,
                      Accumulate<T> beta, InOut2<C> c) {
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
