// SPDX-License-Identifier: Apache-2.0
// The numbers of a step that are sums over micro-batches and ranks: losses and what they are
// divided by; and the means that a step reports.
#pragma once
#include <limits>
#include <vector>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"

namespace elastic {

/// What a step measured, over all ranks. Means over the tokens that count.
struct StepMetrics {
  double loss = 0;           ///< total: cross-entropy, or distillation + lambda * budget loss
  double gradient_norm = 0;  ///< before clipping
  double learning_rate = 0;
  /// NaN where no router is trained.
  double tau = std::numeric_limits<double>::quiet_NaN(), logit_scale = tau;
  /// A trainable teacher's, without its weight; otherwise NaN.
  double teacher_cross_entropy = std::numeric_limits<double>::quiet_NaN();
  /// Numbers of one budget; NaN where it was not trained in this step, or the loss has no weight.
  struct Budget {
    double kl = 0, cross_entropy = 0, budget_loss = 0, relative_cost = 0;
    double share = 0;  ///< of all tokens, each counted once per budget trained on it
  };
  std::vector<Budget> budgets;
  double guard_events = 0;  ///< steps skipped and ways back so far (train/loss_guard.hpp)
};

/// Four sums of the step, then five of each budget (Column).
class TrainSums {
 public:
  enum Column { tokens, kl, cross_entropy, budget_loss, relative_cost };
  explicit TrainSums(std::size_t budgets) : m_numbers(first_budget + 5 * budgets, 0.0) {}

  double& weight() { return m_numbers[0]; }  ///< tokens that count, once per budget trained on them
  double& loss() { return m_numbers[1]; }    ///< total; of elastic training, a sum over the budgets
  double& teacher() { return m_numbers[2]; }   ///< cross-entropy, once per budget that it teaches
  double& failures() { return m_numbers[3]; }  ///< ranks that could not finish their passes
  double& of(std::size_t budget, Column column) {
    return m_numbers[first_budget + 5 * budget + column];
  }

  /// Adds what `other` counted.
  void add(const TrainSums& other);
  /// Rounds each number to a multiple of 2^-30. Sums of such numbers are exact below 2^22, so that
  /// their order and grouping do not matter.
  void round();
  /// Sums over the ranks of `comm`; all of them get the sums.
  void reduce(const Communicator& comm);
  /// Adds the losses of all budgets, and of a teacher in training, with their weights to the total.
  void add_budgets_to_loss(const RunConfig& config, double teacher_cross_entropy_weight);

  double per_token() const { return m_numbers[0] > 0 ? 1 / m_numbers[0] : 0; }
  std::vector<StepMetrics::Budget> budget_means(const DistillConfig& config) const;

 private:
  static constexpr std::size_t first_budget = 4;
  std::size_t num_budgets() const { return (m_numbers.size() - first_budget) / 5; }

  std::vector<double> m_numbers;
};

}  // namespace elastic
