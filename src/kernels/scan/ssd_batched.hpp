// SPDX-License-Identifier: Apache-2.0
// Steps 2 and 4 of the chunked scan by batched products (kernels/products/gemm.hpp), with one
// kernel between two of them: what devices do, whose instructions for products they reach.
// Equations: kernels/scan/ssd_chunk_state.hpp, ssd_chunk_scan.hpp. With n tokens in a chunk, a
// product for
//
//   each chunk and head      Z = (scaled x)^T B                      [P, n] [n, N]
//                            y = [weights, decay C] [x; S^T]         [n, n + N] [n + N, P]
//                            dweights = dy x^T, dx = weights^T dy,
//                            dS = (decay dy)^T C
//   each chunk and group     scores = C B^T, dC = dscores B + (decay dy) S, dB = dscores^T C +
//                            (scaled x) dZ, and S C, dZ B of all heads of the group at once
//
// Operands are T: weights, scaled rows and states are rounded to T before they are multiplied, as
// in the kernels of the authors of Mamba-2. Sums are Accumulate<T>, results as in the other route.
// Buffers are those of one batch of chunks and one group at a time.
#pragma once
#include "kernels/backend.hpp"
#include "kernels/products/gemm.hpp"
#include "kernels/scan/ssd_operands.hpp"

namespace elastic::kernels {

/// Whether ssd takes this route: on devices. On hosts the kernels of register tiles do.
inline constexpr bool ssd_by_products = !on_host;

/// Elements of the workspaces of this route.
template <class T>
index_t ssd_products_forward_size(const SsdShape& shape);
template <class T>
index_t ssd_products_backward_size(const SsdShape& shape);

/// The contract of ssd_chunk_state_forward; workspace of ssd_products_forward_size<T>(shape).
template <class T>
void ssd_products_state_forward(const Products& products, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                InOut1<Accumulate<T>> workspace);
/// The contract of ssd_chunk_scan_forward.
template <class T>
void ssd_products_scan_forward(const Products& products, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved, InOut2<T> y,
                               InOut1<Accumulate<T>> workspace);
/// The contract of ssd_chunk_scan_backward; work.for_products has
/// ssd_products_backward_size<T>(shape) elements.
template <class T>
void ssd_products_scan_backward(const Products& products, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved, In2<T> dy,
                                const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);
/// The contract of ssd_chunk_state_backward.
template <class T>
void ssd_products_state_backward(const Products& products, const SsdShape& shape,
                                 const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                 const SsdWorkspace<T>& work, const SsdGradients<T>& gradients);

}  // namespace elastic::kernels
