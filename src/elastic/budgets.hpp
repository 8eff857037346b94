// SPDX-License-Identifier: Apache-2.0
// The three forms of a budget, and the ways between them.
//
//   number     0, 1, ...: place of a trained budget in the deck      (draws, sums, columns)
//   fraction   part of the parent's cost, in (0, 1]                  (cost, extraction, files)
//   blend      weights of the trained budgets, [S]: one-hot for a    (input of the router)
//              trained one, else of its two neighbours
//
// A deck gives fractions; its numbers and names: config/run_config.hpp.
#pragma once
#include <string>
#include <vector>

namespace elastic {

struct Budget {
  double fraction = 1;
  std::string name;  ///< of its submodel, in files and tables
};

/// The blend of a fraction: linear between two of `trained`, which fall; above the largest or below
/// the smallest of them, that one.
std::vector<double> budget_blend(const std::vector<double>& trained, double fraction);

}  // namespace elastic
