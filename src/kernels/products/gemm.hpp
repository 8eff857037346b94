// SPDX-License-Identifier: Apache-2.0
// The only door to matrix products: C = alpha op(A) op(B) + beta C with strided (prefix) operands,
// one by one or in batches. A and B hold T; sums are formed in Accumulate<T>; C holds either, and
// an element is rounded once.
//
//   library        oneDNN on the host, cuBLAS on CUDA (library_matmul.hpp)
//   matrix units   weight gradients of bfloat16 on a processor that has such units
//                  (weight_gradient_product.hpp)
//   BLAS           where no such library is (blas_product.hpp); no bfloat16, no batches
//   few rows       on a host, at most 16 rows times a transposed weight (gemm_few_rows.hpp)
//   deterministic  in deterministic mode, and where no library multiplies these types: a
//                  kernel of our own (gemm_deterministic.hpp)
//
// On the deterministic route each element of C is one sum over k in rising order, whatever
// the extents and leading dimensions are: a prefix of a wide matrix and its copy give equal bits.
// Reports 2 M N K operations to add_flops (base/region.hpp).
#pragma once
#include "kernels/products/strided_matrix.hpp"

namespace elastic::kernels {

/// Where products run, and whether they take the deterministic route (deck key job/deterministic).
struct Products {
  ExecutionSpace exec = {};
  bool deterministic = false;
};

/// beta = 0 overwrites c whatever it holds. Empty extents are allowed: K = 0 scales c by beta.
/// Throws ContractError if the shapes do not fit.
/// [in] a, op(A) is [M, K]; b, op(B) is [K, N]
/// [in, out] c [M, N]
template <class T, class C = T>
void gemm(const Products& products, Transpose transpose_a, Transpose transpose_b,
          Accumulate<T> alpha, In2<T> a, In2<T> b, Accumulate<T> beta, InOut2<C> c);

/// C = op(A) op(B) + beta C for every product of a batch. On the deterministic route each has the
/// bits of gemm alone. Throws ContractError if the shapes do not fit, or products share a C.
/// [in] a, b as in gemm
/// [in, out] c; matrices of different products must not overlap
template <class T, class C = T>
void gemm_batched(const Products& products, BatchCount count, Transpose transpose_a,
                  Transpose transpose_b, std::type_identity_t<MatrixBatch<const T>> a,
                  std::type_identity_t<MatrixBatch<const T>> b, Accumulate<T> beta,
                  std::type_identity_t<MatrixBatch<C>> c);

/// Selects some k: of every `step`-th unit of `unit` consecutive ones, from unit `first` on.
struct UnitStride {
  index_t unit = 1, first = 0, step = 1;
};
/// C = A op(B) + beta C over some k only, on the deterministic route: one sum in rising order
/// of k. A holds `active` k of each unit (its units are that wide); B holds all `unit` of them,
/// of which the first `active` count. Units wider than 1 are added to C one by one: a C that is
/// narrower than a sum is rounded after each.
/// [in] a [M, units * active], b, op(B) is [units * unit, N]
/// [in, out] c [M, N]
template <class T, class C = T>
void gemm_of_units(const ExecutionSpace& exec, Transpose transpose_b, In2<T> a, In2<T> b,
                   UnitStride units, index_t active, Accumulate<T> beta, InOut2<C> c);

/// Whether products of bfloat16 run on instructions for it: several times as fast as fp32 on
/// processors with AMX. Elsewhere they take the deterministic kernel, slower than fp32's.
bool bfloat16_products_are_fast();

}  // namespace elastic::kernels
