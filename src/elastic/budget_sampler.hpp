// SPDX-License-Identifier: Apache-2.0
// Which budgets a micro-batch trains:
// a pure function of (seed, step, micro-batch), equal on every rank.
#pragma once
#include "base/random.hpp"

#include <vector>

namespace elastic {

/// Index of the budget of micro-batch `micro_batch` (global number in the step) of `step`.
/// Probabilities need not be normalised.
index_t sample_budget(std::uint32_t seed, index_t step, index_t micro_batch,
                      const std::vector<double>& probabilities);

}  // namespace elastic
