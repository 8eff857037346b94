// SPDX-License-Identifier: Apache-2.0
// Pieces of work of different lengths, shared out among ranks that wait for each other.
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Which of `workers` does each piece: the longest first, each goes to the worker that has least to
/// do so far (longest processing time first, Graham 1969: the busiest has at most 4/3 of the best
/// possible). Equal pieces and equal workers are taken in their order. `work`: finite, >= 0.
std::vector<index_t> share_out(const std::vector<double>& work, index_t workers);

}  // namespace elastic
