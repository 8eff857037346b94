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

ELASTIC_INSTANTIATE_LIBRARY_PRODUCTS

}  // namespace elastic::kernels
#endif
