// SPDX-License-Identifier: Apache-2.0
// The numbers of a step that are sums over micro-batches and ranks:
// losses and what they are divided by.
#pragma once
#include <vector>

#include "comm/communicator.hpp"

namespace elastic {

/// Two sums of the step, then five of each budget (Column).
class TrainSums {
 public:
  enum Column { tokens, kl, cross_entropy, budget_loss, relative_cost };
  explicit TrainSums(std::size_t budgets) : m_numbers(2 + 5 * budgets, 0.0) {}

  double& weight() { return m_numbers[0]; }  ///< tokens that count, once per budget trained on them
  double& loss() { return m_numbers[1]; }    ///< total; of elastic training, a sum over the budgets
  double& of(std::size_t budget, Column column) { return m_numbers[2 + 5 * budget + column]; }

  /// Adds what `other` counted.
  void add(const TrainSums& other);
  /// Rounds each number to a multiple of 2^-30. Sums of such numbers are exact below 2^22, so that
  /// their order and grouping do not matter.
  void round();
  /// Sums over the ranks of `comm`; all of them get the sums.
  void reduce(const Communicator& comm);

 private:
  std::vector<double> m_numbers;
};

}  // namespace elastic
