// SPDX-License-Identifier: Apache-2.0
#include "train/train_sums.hpp"

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

}  // namespace elastic
