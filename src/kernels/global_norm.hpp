// SPDX-License-Identifier: Apache-2.0
// Sums over whole buffers that decide about a step: sum of squares (gradient norm) and plain sums (losses), in a fixed order.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// sum_i x_i^2, in double over blocks of fixed size; the order depends on n only. Returns to the host (waits for exec).
template <class S>
double sum_of_squares(const ExecutionSpace& exec, In1<S> x);
/// sum_i x_i, likewise.
template <class S>
double sum(const ExecutionSpace& exec, In1<S> x);

}  // namespace elastic::kernels
