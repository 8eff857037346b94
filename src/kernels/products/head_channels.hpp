// SPDX-License-Identifier: Apache-2.0
// Small per-channel tensors of Mamba heads whose channel prefix is narrower than the parent's.
// Rows h*P + p, p < P_active, of the parent are copied to and from rows h*P_active + p. Matrices
// are never copied: gemm runs head by head on their prefixes.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// packed[h*P_active + p, :] = full[h*P + p, :]
/// [in] full [>= H*P, w]
/// [out] packed [H*P_active, w]
template <class T>
void pack_head_channels(const ExecutionSpace& exec, In2<T> full, index_t head_dim,
                        index_t active_head_dim, InOut2<T> packed);
/// full[h*P + p, :] += packed[h*P_active + p, :]
template <class T>
void unpack_add_head_channels(const ExecutionSpace& exec, In2<Accumulate<T>> packed,
                              index_t head_dim, index_t active_head_dim,
                              InOut2<Accumulate<T>> full);

}  // namespace elastic::kernels
