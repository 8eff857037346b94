// SPDX-License-Identifier: Apache-2.0
// Chooses the route of a matrix product. For fp32 oneDNN's dnnl_sgemm is as fast as its matmul
// primitive (both run one generated code, see README.md), faster for small products, and needs
// neither descriptors nor a cache.
#include "kernels/products/gemm.hpp"

#ifdef ELASTIC_HAVE_DNNL
#include <dnnl.h>
#endif

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/products/blas_product.hpp"
#include "kernels/products/gemm_deterministic.hpp"
#include "kernels/products/gemm_few_rows.hpp"
#include "kernels/products/library_matmul.hpp"
#include "kernels/products/weight_gradient_product.hpp"

namespace elastic::kernels {
namespace {

/// c = beta c, for products without terms.
template <class C>
void scale(const ExecutionSpace& exec, BatchCount count, Accumulate<C> beta,
           const MatrixBatch<C>& batch) {
  const auto rows = static_cast<index_t>(batch.first.extent(0)),
             columns = static_cast<index_t>(batch.first.extent(1));
  const index_t ld = leading_dimension(batch.first);
  const BatchStride stride = batch.stride;
  C* const c = batch.first.data();
  Kokkos::parallel_for(
      "elastic::gemm_scale",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
          exec, 0, count.products() * rows * columns),
      KOKKOS_LAMBDA(const index_t item) {
        const index_t product = item / (rows * columns), i = item / columns % rows;
        C& value = c[product / count.inner * stride.outer + product % count.inner * stride.inner +
                     i * ld + item % columns];
        value = beta == 0 ? C(0) : static_cast<C>(beta * widen(value));
      });
}

#ifdef ELASTIC_HAVE_DNNL
char blas_name(Transpose transpose) { return transpose == Transpose::yes ? 'T' : 'N'; }

void dnnl_product(char transpose_a, char transpose_b, float alpha, const View2<const float>& a,
                  const View2<const float>& b, float beta, const View2<float>& c, index_t depth) {
  const auto status =
      dnnl_sgemm(transpose_a, transpose_b, static_cast<dnnl_dim_t>(c.extent(0)),
                 static_cast<dnnl_dim_t>(c.extent(1)), depth, alpha, a.data(), leading_dimension(a),
                 b.data(), leading_dimension(b), beta, c.data(), leading_dimension(c));
  if (status != dnnl_success)
    throw RunError(
        fmt::format("oneDNN: matrix product failed with status {}", static_cast<int>(status)));
}
#endif

/// Checks the shapes of one product and returns K.
template <class A, class B, class C>
index_t checked_depth(const char* function, bool ta, bool tb, const A& a, const B& b, const C& c) {
  const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1));
  const auto k = static_cast<index_t>(a.extent(ta ? 0 : 1));
  require_shape(function, "a", a, ta ? k : m, ta ? m : k);
  require_shape(function, "b", b, tb ? n : k, tb ? k : n);
  return k;
}

/// Reports the operations of `products` products into matrices like c.
template <class C>
void count_operations(index_t products, index_t k, const C& c) {
  add_flops(2.0 * static_cast<double>(products) * static_cast<double>(k) *
            static_cast<double>(c.extent(0)) * static_cast<double>(c.extent(1)));
}

/// Shows products to Kokkos Tools, where one listens: what libraries compute is no kernel.
class ProductRegion {
 public:
  ProductRegion(index_t products, index_t m, index_t n, index_t k)
      : m_open(Kokkos::Profiling::profileLibraryLoaded()) {
    if (m_open)
      Kokkos::Profiling::pushRegion(fmt::format("elastic::gemm {} x {} {} {}", products, m, n, k));
  }
  ~ProductRegion() {
    if (m_open) Kokkos::Profiling::popRegion();
  }
  ProductRegion(const ProductRegion&) = delete;
  ProductRegion& operator=(const ProductRegion&) = delete;

 private:
  bool m_open;
};
template <class C>
ProductRegion product_region(index_t products, index_t k, const C& c) {
  return {products, static_cast<index_t>(c.extent(0)), static_cast<index_t>(c.extent(1)), k};
}

}  // namespace

template <class T, class C>
void gemm(const Products& products, Transpose transpose_a, Transpose transpose_b,
          Accumulate<T> alpha, In2<T> a, In2<T> b, Accumulate<T> beta, InOut2<C> c) {
  const bool ta = transpose_a == Transpose::yes, tb = transpose_b == Transpose::yes;
  const index_t k = checked_depth("gemm", ta, tb, a, b, c);
  const ExecutionSpace& exec = products.exec;
  if (c.extent(0) == 0 || c.extent(1) == 0) return;
  if (k == 0) return scale<C>(exec, {}, beta, {c});
  count_operations(1, k, c);
  const ProductRegion region = product_region(1, k, c);

  const auto strided_a = operand<T>(a, transpose_a), strided_b = operand<T>(b, transpose_b);
  const auto own_product = [&] {
    deterministic_product<T, C>(exec, k, alpha, strided_a, strided_b, beta, c);
  };
  if (products.deterministic) return own_product();
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    if (static_cast<index_t>(c.extent(0)) <= few_rows && !ta && tb)
      return few_rows_product<T, C>(exec, alpha, a, b, beta, c);
#ifdef ELASTIC_HAVE_DNNL
  if constexpr (std::is_same_v<T, float>)
    return dnnl_product(blas_name(transpose_a), blas_name(transpose_b), alpha, a, b, beta, c, k);
#endif
  if constexpr (std::is_same_v<T, bfloat16> && std::is_same_v<C, float>)
    if (alpha == 1 && (beta == 0 || beta == 1) &&
        suits_weight_gradient_product(static_cast<index_t>(c.extent(0)),
                                      static_cast<index_t>(c.extent(1)), k, strided_a, strided_b))
      return weight_gradient_product(exec, k, strided_a, strided_b, beta, c);
  if (has_matmul<T>() && alpha != 0)
    return matmul_products<T, C>(exec, {}, k, alpha, strided_a, strided_b, beta, {c});
  // The BLAS multiply matrices of one arithmetic type; our own kernel takes any.
  if constexpr (std::is_same_v<T, C> && std::is_same_v<T, Accumulate<T>>)
    if (blas_product<T>(exec, transpose_a, transpose_b, alpha, a, b, beta, c)) return;
  own_product();
}

template <class T, class C>
void gemm_batched(const Products& products, BatchCount count, Transpose transpose_a,
                  Transpose transpose_b, std::type_identity_t<MatrixBatch<const T>> a,
                  std::type_identity_t<MatrixBatch<const T>> b, Accumulate<T> beta,
                  std::type_identity_t<MatrixBatch<C>> c) {
  const index_t k = checked_depth("gemm_batched", transpose_a == Transpose::yes,
                                  transpose_b == Transpose::yes, a.first, b.first, c.first);
  ELASTIC_REQUIRE(
      (count.outer <= 1 || c.stride.outer != 0) && (count.inner <= 1 || c.stride.inner != 0),
      "gemm_batched: {} x {} products with strides {} and {} of c", count.outer, count.inner,
      c.stride.outer, c.stride.inner);
  if (count.products() == 0 || c.first.extent(0) == 0 || c.first.extent(1) == 0) return;
  if (k == 0) return scale<C>(products.exec, count, beta, c);
  count_operations(count.products(), k, c.first);
  const ProductRegion region = product_region(count.products(), k, c.first);

  const auto strided_a = operand<T>(a.first, transpose_a, a.stride),
             strided_b = operand<T>(b.first, transpose_b, b.stride);
  const bool one_product = (count.outer > 1 && a.stride.outer == 0 && b.stride.outer == 0) ||
                           (count.inner > 1 && a.stride.inner == 0 && b.stride.inner == 0);
  if (!products.deterministic && !one_product && has_matmul<T>())
    return matmul_products<T, C>(products.exec, count, k, 1, strided_a, strided_b, beta, c);
  deterministic_products<T, C>(products.exec, count, k, 1, strided_a, strided_b, beta, c);
}

template <class T, class C>
void gemm_of_units(const ExecutionSpace& exec, Transpose transpose_b, In2<T> a, In2<T> b,
                   UnitStride units, index_t active, Accumulate<T> beta, InOut2<C> c) {
  const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1));
  const index_t count = static_cast<index_t>(a.extent(1)) / active;
  require_shape("gemm_of_units", "a", a, m, count * active);
  if (m == 0 || n == 0) return;
  if (units.first >= count) return scale<C>(exec, {}, beta, {c});
  const ProductRegion region =
      product_region(1, (count - units.first + units.step - 1) / units.step * active, c);
  const auto a_all = operand<T>(a, Transpose::no), b_all = operand<T>(b, transpose_b);
  const auto multiply = [&](index_t u, index_t depth, index_t a_step, index_t b_step) {
    count_operations(1, depth, c);
    deterministic_product<T, C>(
        exec, depth, 1, {&a_all(0, u * active), a_all.row_stride, a_all.column_stride * a_step},
        {&b_all(u * units.unit, 0), b_all.row_stride * b_step, b_all.column_stride}, beta, c);
    beta = 1;
  };
  if (units.unit == 1)
    return multiply(units.first, (count - units.first + units.step - 1) / units.step, units.step,
                    units.step);
  for (index_t u = units.first; u < count; u += units.step) multiply(u, active, 1, 1);
}

bool bfloat16_products_are_fast() { return has_matmul<bfloat16>(); }

#define ELASTIC_INSTANTIATE(T, C)                                                                 \
  template void gemm<T, C>(const Products&, Transpose, Transpose, Accumulate<T>, In2<T>, In2<T>,  \
                           Accumulate<T>, InOut2<C>);                                             \
  template void gemm_batched<T, C>(const Products&, BatchCount, Transpose, Transpose,             \
                                   MatrixBatch<const T>, MatrixBatch<const T>, Accumulate<T>,     \
                                   MatrixBatch<C>);                                               \
  template void gemm_of_units<T, C>(const ExecutionSpace&, Transpose, In2<T>, In2<T>, UnitStride, \
                                    index_t, Accumulate<T>, InOut2<C>);
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
