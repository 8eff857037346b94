// SPDX-License-Identifier: Apache-2.0
// Chooses the route of a matrix product. oneDNN's dnnl_sgemm is as fast as its matmul
// primitive (both run one generated code, see README.md), faster for small products, and needs
// neither descriptors nor a cache.
#include "kernels/products/gemm.hpp"

#include <KokkosBlas3_gemm.hpp>
#ifdef ELASTIC_HAVE_DNNL
#include <dnnl.h>
#endif

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/products/gemm_deterministic.hpp"
#include "kernels/products/gemm_few_rows.hpp"

namespace elastic::kernels {
namespace {

const char* blas_name(Transpose transpose) { return transpose == Transpose::yes ? "T" : "N"; }

template <class T>
StridedMatrix<T> operand(const View2<const T>& view, Transpose transpose) {
  const index_t ld = leading_dimension(view);
  return transpose == Transpose::yes ? StridedMatrix<T>{view.data(), 1, ld}
                                     : StridedMatrix<T>{view.data(), ld, 1};
}

/// c = beta c, for products without terms.
template <class C>
void scale(const ExecutionSpace& exec, Accumulate<C> beta, const View2<C>& c) {
  const auto columns = static_cast<index_t>(c.extent(1));
  Kokkos::parallel_for(
      "elastic::gemm_scale",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
          exec, 0, static_cast<index_t>(c.extent(0)) * columns),
      KOKKOS_LAMBDA(const index_t element) {
        C& value = c(element / columns, element % columns);
        value = beta == 0 ? C(0) : static_cast<C>(beta * widen(value));
      });
}

template <class T>
void blas_product(const ExecutionSpace& exec, const char* transpose_a, const char* transpose_b,
                  T alpha, const View2<const T>& a, const View2<const T>& b, T beta,
                  const View2<T>& c) {
  if constexpr (requires {
                  KokkosBlas::gemm(exec, transpose_a, transpose_b, alpha, a, b, beta, c);
                })
    KokkosBlas::gemm(exec, transpose_a, transpose_b, alpha, a, b, beta, c);
  else
    KokkosBlas::gemm(transpose_a, transpose_b, alpha, a, b, beta,
                     c);  // before Kokkos Kernels 4: default instance only
}

#ifdef ELASTIC_HAVE_DNNL
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

}  // namespace

template <class T, class C>
void gemm(const Products& products, Transpose transpose_a, Transpose transpose_b,
          Accumulate<T> alpha, In2<T> a, In2<T> b, Accumulate<T> beta, InOut2<C> c) {
  const bool ta = transpose_a == Transpose::yes, tb = transpose_b == Transpose::yes;
  const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1));
  const auto k = static_cast<index_t>(a.extent(ta ? 0 : 1));
  const ExecutionSpace& exec = products.exec;
  require_shape("gemm", "a", a, ta ? k : m, ta ? m : k);
  require_shape("gemm", "b", b, tb ? n : k, tb ? k : n);
  if (m == 0 || n == 0) return;
  if (k == 0) return scale<C>(exec, beta, c);
  add_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));

  // Libraries multiply matrices of one type only; the deterministic route takes any.
  constexpr bool has_library = std::is_same_v<T, C> && std::is_same_v<T, Accumulate<T>>;
  if (products.deterministic || !has_library)
    return deterministic_product<T, C>(exec, k, alpha, operand<T>(a, transpose_a),
                                       operand<T>(b, transpose_b), beta, c);
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    if (m <= few_rows && !ta && tb) return few_rows_product<T, C>(exec, alpha, a, b, beta, c);
#ifdef ELASTIC_HAVE_DNNL
  if constexpr (has_library && std::is_same_v<T, float> && std::is_same_v<MemorySpace, HostSpace>)
    return dnnl_product(*blas_name(transpose_a), *blas_name(transpose_b), alpha, a, b, beta, c, k);
#endif
  if constexpr (has_library)
    blas_product<T>(exec, blas_name(transpose_a), blas_name(transpose_b), alpha, a, b, beta, c);
}

template <class T>
void gemm_of_units(const ExecutionSpace& exec, Transpose transpose_b, In2<T> a, In2<T> b,
                   UnitStride units, index_t active, Accumulate<T> beta, InOut2<T> c) {
  const auto m = static_cast<index_t>(c.extent(0)), n = static_cast<index_t>(c.extent(1));
  const index_t count = static_cast<index_t>(a.extent(1)) / active;
  require_shape("gemm_of_units", "a", a, m, count * active);
  if (m == 0 || n == 0) return;
  if (units.first >= count) return scale<T>(exec, beta, c);
  const auto a_all = operand<T>(a, Transpose::no), b_all = operand<T>(b, transpose_b);
  const auto multiply = [&](index_t u, index_t depth, index_t a_step, index_t b_step) {
    add_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(depth));
    deterministic_product<T>(
        exec, depth, 1, {&a_all(0, u * active), a_all.row_stride, a_all.column_stride * a_step},
        {&b_all(u * units.unit, 0), b_all.row_stride * b_step, b_all.column_stride}, beta, c);
    beta = 1;
  };
  if (units.unit == 1)
    return multiply(units.first, (count - units.first + units.step - 1) / units.step, units.step,
                    units.step);
  for (index_t u = units.first; u < count; u += units.step) multiply(u, active, 1, 1);
}

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void gemm<T>(const Products&, Transpose, Transpose, Accumulate<T>, In2<T>, In2<T>,  \
                        Accumulate<T>, InOut2<T>);                                             \
  template void gemm_of_units<T>(const ExecutionSpace&, Transpose, In2<T>, In2<T>, UnitStride, \
                                 index_t, Accumulate<T>, InOut2<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
