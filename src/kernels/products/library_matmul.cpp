// SPDX-License-Identifier: Apache-2.0
// The answer of machines whose library the build did not find: nothing multiplies at speed.
#include "kernels/products/library_matmul.hpp"

#if !defined(ELASTIC_HAVE_DNNL) && !defined(ELASTIC_HAVE_CUBLAS)
#include "base/error.hpp"

namespace elastic::kernels {

template <class T>
bool has_matmul() {
  return false;
}
template <class T, class C>
void matmul_products(const ExecutionSpace&, BatchCount, index_t, Accumulate<T>, StridedMatrix<T>,
                     StridedMatrix<T>, Accumulate<T>, MatrixBatch<C>) {
  throw ContractError("matmul_products: built without a library of products");
}

template bool has_matmul<bfloat16>();
template bool has_matmul<float>();
template bool has_matmul<double>();
#define ELASTIC_INSTANTIATE(T, C)                                                                \
  template void matmul_products<T, C>(const ExecutionSpace&, BatchCount, index_t, Accumulate<T>, \
                                      StridedMatrix<T>, StridedMatrix<T>, Accumulate<T>,         \
                                      MatrixBatch<C>);
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
#endif
