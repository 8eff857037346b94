// SPDX-License-Identifier: Apache-2.0
// Puts columns that were sharded over ranks back in their order.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// out(t, v) = parts(v % ranks * T + t, v / ranks)
/// [in] parts [ranks * T, at least V / ranks rounded up]:
///      the matrices of all ranks below each other
/// [out] out [T, V]
template <class T>
void interleave_columns(const ExecutionSpace& exec, In2<T> parts, index_t ranks, InOut2<T> out);

}  // namespace elastic::kernels
