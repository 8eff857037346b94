// SPDX-License-Identifier: Apache-2.0
// The micro-batches of an elastic step that this replica computes. Which samples train which
// budgets is dealt out (elastic/budget_deal.hpp) without a word about ranks; the micro-batches that
// come of it are shared out among replicas by the operations of their passes, at the widths that
// the router draws for them, so that replicas have done at the same time (parallel/share_out.hpp).
#pragma once
#include <optional>

#include "config/curriculum.hpp"
#include "elastic/budget_deal.hpp"
#include "parallel/process_grid.hpp"
#include "state/train_state.hpp"

namespace elastic {

/// Throws NumericsError naming step and budget if a probability is not finite.
void require_finite_draw(const RouterDraw& draw, const std::string& budget);

class StepDeal {
 public:
  StepDeal(const ProcessGrid& grid, const RunConfig& config) : m_grid(grid), m_config(config) {}

  /// Collective over all ranks of the run. The micro-batches of this replica at step `local_step`
  /// of the stage (1, 2, ...), with the numbers that samples have in the step.
  template <class T>
  std::vector<DrawGroup> micro_batches(TrainState<T>& state, const Stage& stage, index_t local_step,
                                       const RouterTemperature& temperature);
  /// The name of the router's draw for a budget of a micro-batch.
  std::uint64_t stream(index_t local_step, const DrawGroup& batch, std::size_t budget) const {
    return m_deal->stream(local_step, batch.number, budget);
  }

 private:
  template <class T>
  std::vector<double> work(TrainState<T>& state, const Stage& stage, index_t local_step,
                           const RouterTemperature& temperature,
                           const std::vector<DrawGroup>& batches) const;

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  std::optional<BudgetDeal> m_deal;
  std::uint64_t m_stage = 0;  // of m_deal
};

}  // namespace elastic
