// SPDX-License-Identifier: Apache-2.0
// cuBLAS stores matrices by columns: it computes C^T = B^T A^T, whose memory is ours. Sums are
// formed in Accumulate<T>; products of float stay products of float (no tf32). Results are the
// same in every run: one handle belongs to one thread, and calls of a handle follow each other. A
// grid of products is one call: with a stride where one leads through all of them, else with a list
// of addresses.
#ifdef ELASTIC_HAVE_CUBLAS
#include <cublas_v2.h>

#include <algorithm>
#include <vector>

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

/// Addresses of the matrices of a grid of products, in device memory: [3, products]. A call reads
/// them after the kernel that writes them and before the next such kernel, in the order of a
/// stream, so each stream has a list; kept until the process ends.
const void** room_for_addresses(cudaStream_t stream, index_t products) {
  struct List {
    cudaStream_t stream;
    const void** memory;
    index_t products;
  };
  thread_local std::vector<List> lists;
  const auto found = std::find_if(lists.begin(), lists.end(), [&](const List& list) {
    return list.stream == stream && list.products >= products;
  });
  if (found != lists.end()) return found->memory;
  List added{stream, nullptr, 2 * products};
  const auto bytes = static_cast<std::size_t>(3 * added.products) * sizeof(void*);
  if (cudaMalloc(reinterpret_cast<void**>(&added.memory), bytes) != cudaSuccess)
    throw RunError(fmt::format("cuBLAS: no memory for the addresses of {} products", products));
  lists.push_back(added);
  return added.memory;
}

template <class T, class C>
void write_addresses(const ExecutionSpace& exec, BatchCount count, const StridedMatrix<T>& a,
                     const StridedMatrix<T>& b, C* c, BatchStride c_stride,
                     const void** addresses) {
  const index_t products = count.products(), inner = count.inner;
  const BatchStride a_stride = a.batch, b_stride = b.batch;
  const T *a_data = a.data, *b_data = b.data;
  Kokkos::parallel_for(
      "elastic::gemm_addresses",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(exec, 0, products),
      KOKKOS_LAMBDA(const index_t item) {
        const index_t p = item / inner, q = item % inner;
        addresses[item] = a_data + p * a_stride.outer + q * a_stride.inner;
        addresses[products + item] = b_data + p * b_stride.outer + q * b_stride.inner;
        addresses[2 * products + item] = c + p * c_stride.outer + q * c_stride.inner;
      });
}

/// Whether one stride leads through all products of a grid.
bool has_one_stride(BatchCount count, BatchStride stride) {
  return count.outer <= 1 || count.inner <= 1 || stride.outer == count.inner * stride.inner;
}

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
  const cublasHandle_t handle = handle_of_this_thread();
  require_success(cublasSetStream(handle, exec.cuda_stream()));
  constexpr auto sums =
      std::is_same_v<Accumulate<T>, double> ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
  const index_t ldc = leading_dimension(c.first);
  C* const c_data = c.first.data();
  if (has_one_stride(count, a.batch) && has_one_stride(count, b.batch) &&
      has_one_stride(count, c.stride)) {
    const auto step = [&](BatchStride s) { return count.inner > 1 ? s.inner : s.outer; };
    return require_success(cublasGemmStridedBatchedEx_64(
        handle, of_b.operation, of_a.operation, n, m, depth, &alpha, b.data, data_type<T>(),
        of_b.ld, step(b.batch), a.data, data_type<T>(), of_a.ld, step(a.batch), &beta, c_data,
        data_type<C>(), ldc, step(c.stride), count.products(), sums, CUBLAS_GEMM_DEFAULT));
  }
  const index_t products = count.products();
  const void** const addresses = room_for_addresses(exec.cuda_stream(), products);
  write_addresses<T, C>(exec, count, a, b, c_data, c.stride, addresses);
  require_success(cublasGemmBatchedEx_64(handle, of_b.operation, of_a.operation, n, m, depth,
                                         &alpha, addresses + products, data_type<T>(), of_b.ld,
                                         addresses, data_type<T>(), of_a.ld, &beta,
                                         const_cast<void**>(addresses + 2 * products),
                                         data_type<C>(), ldc, products, sums, CUBLAS_GEMM_DEFAULT));
}

ELASTIC_INSTANTIATE_LIBRARY_PRODUCTS

}  // namespace elastic::kernels
#endif
