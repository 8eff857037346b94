// SPDX-License-Identifier: Apache-2.0
#include "train/train_sums.hpp"

#include <limits>

#include "base/on_grid.hpp"
#include "comm/collectives.hpp"

namespace elastic {

void TrainSums::add(const TrainSums& other) {
  for (std::size_t i = 0; i < m_numbers.size(); ++i) m_numbers[i] += other.m_numbers[i];
}

void TrainSums::round() {
  for (double& x : m_numbers) x = on_grid(x);
}

void TrainSums::reduce(const Communicator& comm) { all_reduce_sum(comm, m_numbers); }

void TrainSums::add_budgets_to_loss(const RunConfig& config, double teacher_cross_entropy_weight) {
  loss() += teacher_cross_entropy_weight * teacher();
  for (std::size_t b = 0; b < num_budgets(); ++b)
    loss() += config.distill.distillation_weight * of(b, kl) +
              config.distill.cross_entropy_weight * of(b, cross_entropy) +
              config.elastic.weight * of(b, budget_loss);
}

std::vector<StepMetrics::Budget> TrainSums::budget_means(const DistillConfig& config) const {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  std::vector<StepMetrics::Budget> means;
  for (std::size_t b = 0; b < num_budgets(); ++b) {
    const double* sums = &m_numbers[first_budget + 5 * b];
    const auto mean = [&](Column column, bool computed = true) {
      return computed && sums[tokens] > 0 ? sums[column] / sums[tokens] : none;
    };
    means.push_back({.kl = mean(kl, config.distillation_weight > 0),
                     .cross_entropy = mean(cross_entropy, config.cross_entropy_weight > 0),
                     .budget_loss = mean(budget_loss),
                     .relative_cost = mean(relative_cost),
                     .share = sums[tokens] * per_token()});
  }
  return means;
}

}  // namespace elastic
