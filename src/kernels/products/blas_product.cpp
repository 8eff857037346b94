// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/blas_product.hpp"

#if defined(ELASTIC_HAVE_KOKKOS_KERNELS)
#include <KokkosBlas3_gemm.hpp>
#elif defined(ELASTIC_HAVE_CBLAS)
#include <cblas.h>
#endif

namespace elastic::kernels {

#if defined(ELASTIC_HAVE_KOKKOS_KERNELS)
namespace {
const char* blas_name(Transpose transpose) { return transpose == Transpose::yes ? "T" : "N"; }
}  // namespace

/// Kokkos Kernels 4.7 take a matrix of one column for a vector without gaps, whatever its leading
/// dimension is, and multiply it wrongly; such products are left to our own kernel.
template <class T>
bool blas_product(const ExecutionSpace& exec, Transpose transpose_a, Transpose transpose_b, T alpha,
                  const View2<const T>& a, const View2<const T>& b, T beta, const View2<T>& c) {
  const char *op_a = blas_name(transpose_a), *op_b = blas_name(transpose_b);
  if (c.extent(0) == 1 || c.extent(1) == 1 || a.extent(0) == 1 || a.extent(1) == 1) return false;
  if constexpr (requires { KokkosBlas::gemm(exec, op_a, op_b, alpha, a, b, beta, c); })
    KokkosBlas::gemm(exec, op_a, op_b, alpha, a, b, beta, c);
  else  // before Kokkos Kernels 4: default instance only
    KokkosBlas::gemm(op_a, op_b, alpha, a, b, beta, c);
  return true;
}

#elif defined(ELASTIC_HAVE_CBLAS)
template <class T>
bool blas_product(const ExecutionSpace&, Transpose transpose_a, Transpose transpose_b, T alpha,
                  const View2<const T>& a, const View2<const T>& b, T beta, const View2<T>& c) {
  const auto op = [](Transpose t) { return t == Transpose::yes ? CblasTrans : CblasNoTrans; };
  const auto to_int = [](auto n) { return static_cast<int>(n); };
  const int m = to_int(c.extent(0)), n = to_int(c.extent(1)),
            k = to_int(a.extent(transpose_a == Transpose::yes ? 0 : 1));
  const auto multiply = [&](auto gemm) {
    gemm(CblasRowMajor, op(transpose_a), op(transpose_b), m, n, k, alpha, a.data(),
         to_int(leading_dimension(a)), b.data(), to_int(leading_dimension(b)), beta, c.data(),
         to_int(leading_dimension(c)));
  };
  if constexpr (std::is_same_v<T, float>)
    multiply(cblas_sgemm);
  else
    multiply(cblas_dgemm);
  return true;
}

#else
template <class T>
bool blas_product(const ExecutionSpace&, Transpose, Transpose, T, const View2<const T>&,
                  const View2<const T>&, T, const View2<T>&) {
  return false;
}
#endif

#define ELASTIC_INSTANTIATE(T)                                                  \
  template bool blas_product<T>(const ExecutionSpace&, Transpose, Transpose, T, \
                                const View2<const T>&, const View2<const T>&, T, const View2<T>&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
