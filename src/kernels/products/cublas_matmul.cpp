// SPDX-License-Identifier: Apache-2.0
// cuBLAS stores matrices by columns: it computes C^T = B^T A^T, whose memory is ours. Sums are
// formed in Accumulate<T>; products of float stay products of float (no tf32). Results are the
// same in every run: one handle belongs to one thread, and calls of a handle follow each other.
#ifdef ELASTIC_HAVE_CUBLAS
#include <cublas_v2.h>

#include "base/error.hpp"
#include "kernels/products/library_matmul.hpp"

namespace elastic::kernels {
namespace {

void require_success(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw RunError(fmt::format("cuBLAS: matrix product failed: {}", cublasGetStatusString(status)));
}

/// Kept until the process ends: at exit the device may be gone before this thread's objects.
cublasHandle_t handle_of_this_thread() {
  thread_local const cublasHandle_t handle = [] {
    cublasHandle_t created = nullptr;
    require_success(cublasCreate(&created));
    return created;
  }();
  return handle;
}

template <class T>
constexpr cudaDataType_t data_type() {
  return std::is_same_v<T, double>  ? CUDA_R_64F
         : std::is_same_v<T, float> ? CUDA_R_32F
                                    : CUDA_R_16BF;
}

/// op(A) [rows, columns] as cuBLAS sees its memory, which is that of op(A)^T stored by columns.
struct Operand {
  cublasOperation_t operation;
  index_t ld;

  template <class T>
  Operand(const StridedMatrix<T>& matrix, index_t rows, index_t columns) {
    const bool plain = matrix.column_stride == 1 && (rows == 1 || matrix.row_stride >= columns);
    operation = plain ? CUBLAS_OP_N : CUBLAS_OP_T;
    ld = plain ? math::max(matrix.row_stride, columns) : math::max(matrix.column_stride, rows);
  }
};

/// A grid of products as calls, each for one batch with a stride.
struct Batches {
  index_t calls, products;
  bool over_outer;  ///< what a call runs over
  explicit Batches(BatchCount count) : over_outer(count.outer > count.inner) {
    calls = over_outer ? count.inner : count.outer;
    products = over_outer ? count.outer : count.inner;
  }
  index_t step(BatchStride stride) const { return over_outer ? stride.outer : stride.inner; }
  index_t begin(BatchStride stride, index_t call) const {
    return call * (over_outer ? stride.inner : stride.outer);
  }
};

}  // namespace

template <class T>
bool has_matmul() {
  return true;
}

template <class T, class C>
void matmul_products(const ExecutionSpace& exec, BatchCount count, index_t depth,
                     Accumulate<T> alpha, StridedMatrix<T> a, StridedMatrix<T> b,
                     Accumulate<T> beta, MatrixBatch<C> c) {
  const auto m = static_cast<index_t>(c.first.extent(0)),
             n = static_cast<index_t>(c.first.extent(1));
  const Operand of_a(a, m, depth), of_b(b, depth, n);
  const Batches batches(count);
  const cublasHandle_t handle = handle_of_this_thread();
  require_success(cublasSetStream(handle, exec.cuda_stream()));
  constexpr auto sums =
      std::is_same_v<Accumulate<T>, double> ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
  for (index_t call = 0; call < batches.calls; ++call)
    require_success(cublasGemmStridedBatchedEx_64(
        handle, of_b.operation, of_a.operation, n, m, depth, &alpha,
        b.data + batches.begin(b.batch, call), data_type<T>(), of_b.ld, batches.step(b.batch),
        a.data + batches.begin(a.batch, call), data_type<T>(), of_a.ld, batches.step(a.batch),
        &beta, c.first.data() + batches.begin(c.stride, call), data_type<C>(),
        leading_dimension(c.first), batches.step(c.stride), batches.products, sums,
        CUBLAS_GEMM_DEFAULT));
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
