// SPDX-License-Identifier: Apache-2.0
// The only door to matrix products: C = alpha op(A) op(B) + beta C with strided (prefix) operands.
//
// Routes: oneDNN on the host for fp32 where found, else KokkosBlas (BLAS, cuBLAS, rocBLAS), but a
// kernel of our own for at most 16 rows times a transposed weight on a host (gemm_few_rows.hpp); in
// deterministic mode a kernel of our own, in which each element of C is one sum over k in rising
// order whatever the extents and leading dimensions, so that a prefix of a wide matrix and its copy
// give the same bits. Reports 2 M N K operations to add_flops (base/region.hpp).
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

enum class Transpose { no, yes };

/// [in] a: op(A) is [M, K]; [in] b: op(B) is [K, N]; [in, out] c [M, N]. beta = 0 overwrites c
/// whatever it holds. Empty extents are allowed: K = 0 scales c by beta. Throws ContractError if
/// the shapes do not fit.
template <class T>
void gemm(const ExecutionSpace& exec, Transpose transpose_a, Transpose transpose_b,
          std::type_identity_t<T> alpha, In2<T> a, In2<T> b, std::type_identity_t<T> beta,
          InOut2<T> c);

/// The k of every `step`-th unit of `unit` consecutive ones, from unit `first` on.
struct UnitStride {
  index_t unit = 1, first = 0, step = 1;
};
/// C = A op(B) + beta C over some k only, on the deterministic route: one sum in rising order of k.
/// A holds `active` k of each unit (its units are that wide), B all `unit` of them, of which the
/// first `active` count. [in] a [M, units * active], op(B) [units * unit, N]; c [M, N].
template <class T>
void gemm_of_units(const ExecutionSpace& exec, Transpose transpose_b, In2<T> a, In2<T> b,
                   UnitStride units, index_t active, std::type_identity_t<T> beta, InOut2<T> c);

/// Chooses the deterministic route for all later calls of this process (deck key
/// job/deterministic).
void set_deterministic_gemm(bool deterministic);
bool deterministic_gemm();

}  // namespace elastic::kernels
