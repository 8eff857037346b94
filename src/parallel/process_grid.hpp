// SPDX-License-Identifier: Apache-2.0
// The ranks of a run as a grid: tensor x context x data.
//
//   const ProcessGrid grid(world, {.tensor = 2});
//   all_reduce_sum(grid.tensor, partial);
//
// Rank (d * context + c) * tensor + t of the world has coordinates t, c, d: the ranks of a tensor
// group are neighbours, so that launchers put them on one node.
#pragma once
#include "comm/communicator.hpp"

namespace elastic {

/// How many ranks share one model: by units of its tensors, and by tokens of its sequences.
/// Data parallelism takes the rest.
struct ParallelSizes {
  int tensor = 1, context = 1;
};

/// The communicators of a rank; they inherit the deterministic flag of `world`.
class ProcessGrid {
 public:
  /// Collective. Throws InputError on all ranks, naming possible numbers, unless
  /// tensor * context divides the ranks.
  ProcessGrid(const Communicator& world, const ParallelSizes& sizes);

  /// Data-parallel replicas of the model.
  int num_replicas() const { return data.size(); }
  /// Whether the ranks of every tensor group can share memory; slow otherwise.
  bool tensor_groups_on_one_node() const { return m_tensor_groups_on_one_node; }

  Communicator world;
  Communicator tensor;        ///< equal c, d: parts of each tensor
  Communicator context;       ///< equal t, d: parts of each sequence
  Communicator data;          ///< equal t, c: other sequences
  Communicator data_context;  ///< equal t: who holds the same parameters; rank d * context + c
  Communicator model;         ///< equal d: one replica; rank c * tensor + t

 private:
  bool m_tensor_groups_on_one_node;
};

}  // namespace elastic
