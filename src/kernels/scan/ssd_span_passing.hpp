// SPDX-License-Identifier: Apache-2.0
// The recurrence over spans whose contributions are all known (kernels/scan/ssd_state_passing.hpp):
//
//   S_0 = 0,   S_{i+1} = decay_i S_i + total_i
#pragma once
#include "kernels/scan/ssd_state_passing.hpp"

namespace elastic::kernels {

/// Blocks of n rows stand at places(0), places(1), ... in the order of the spans;
/// backward begins at the last.
/// [in] places [spans], decay [spans * n]
/// [in, out] states [spans * n, columns]: total_i in, S_i out
template <class T>
void ssd_span_passing(const ExecutionSpace& exec, Direction direction, In1<index_t> places,
                      In1<Accumulate<T>> decay, InOut2<Accumulate<T>> states);

}  // namespace elastic::kernels
