// SPDX-License-Identifier: Apache-2.0
// Which samples of a step train which budgets (Nemotron Elastic, arXiv 2511.16664: every sample of
// a batch is assigned a budget): an exact deal, a pure function of (seed, stage, step).
//
//   shares  e_b = min(1, c p_b) with c such that sum_b e_b = k        budgets per sample
//   counts  n_b of step t: the largest remainders of t B e_b - (what steps before t trained),
//           so that every step trains the stated mix to within a sample, and what is rounded off
//           is made up for by later steps
//   order   the slots of all budgets, budget after budget, are laid on the B samples again and
//           again, so that k budgets of a sample differ; the samples lie in a random order
//
// Samples that train the same budgets are cut into groups of at most G, which share one draw of the
// router for each budget. A micro-batch is a part of a group: its size changes rounding only.
#pragma once
#include <vector>

#include "base/random.hpp"

namespace elastic {

/// e_b: the part of all samples that trains each budget. Probabilities need not be normalised; a
/// budget without one is not trained. Throws ContractError unless 1 <= budgets_per_sample <= the
/// number of positive ones.
std::vector<double> budget_shares(const std::vector<double>& probabilities,
                                  index_t budgets_per_sample);

/// Samples of a step that train the same budgets with the same draws of the router.
struct DrawGroup {
  index_t number = 0;                ///< in the step
  std::vector<index_t> samples;      ///< their numbers in the step, rising
  std::vector<std::size_t> budgets;  ///< rising
};

/// The groups cut into micro-batches of at most `size` samples; each keeps the number of its group.
std::vector<DrawGroup> cut_groups(const std::vector<DrawGroup>& groups, index_t size);

struct BudgetDealConfig {
  std::uint32_t seed = 0;
  std::uint64_t stage = 0;
  std::vector<double> probabilities;
  index_t samples = 1;             ///< B of a step
  index_t budgets_per_sample = 1;  ///< k
  index_t samples_per_draw = 1;    ///< G
};

class BudgetDeal {
 public:
  explicit BudgetDeal(const BudgetDealConfig& config);

  /// n_b of step `step` of the stage (1, 2, ...): samples that train each budget. Remembers the
  /// last step, from which the next is had at once.
  std::vector<index_t> counts(index_t step);
  /// All samples of the step, in groups.
  std::vector<DrawGroup> groups(index_t step);
  /// Names the draw of the router for a budget of a group.
  std::uint64_t stream(index_t step, index_t group, std::size_t budget) const;

 private:
  void advance();
  std::vector<index_t> shuffled(index_t step) const;
  RandomKey step_key(index_t step) const;

  BudgetDealConfig m_config;
  std::vector<double> m_shares;
  index_t m_step = 0;                      // of m_counts
  std::vector<index_t> m_counts, m_taken;  // of this step, and of all steps so far
};

}  // namespace elastic
