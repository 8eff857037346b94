// SPDX-License-Identifier: Apache-2.0
// Which budgets a micro-batch trains:
// a pure function of (seed, step, micro-batch), equal on every rank.
#pragma once
#include <vector>

#include "base/random.hpp"

namespace elastic {

/// Index of the budget of micro-batch `micro_batch` (global number in the step) of `step`.
/// Probabilities need not be normalised.
index_t sample_budget(std::uint32_t seed, index_t step, index_t micro_batch,
                      const std::vector<double>& probabilities);

/// The `count` budgets that a micro-batch trains, drawn without replacement: one that is drawn
/// leaves the urn. Fewer where no other has a probability; all of them, in order, where `count` is
/// their number.
std::vector<std::size_t> draw_budgets(std::uint32_t seed, index_t step, index_t micro_batch,
                                      std::vector<double> probabilities, index_t count);

}  // namespace elastic
