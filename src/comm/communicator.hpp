// SPDX-License-Identifier: Apache-2.0
// A group of ranks. Owns its MPI communicator; the collectives on it are in comm/collectives.hpp.
#pragma once
#include <mpi.h>

namespace elastic {

class Communicator {
 public:
  /// All ranks of the run (a duplicate: its messages cannot meet those of other libraries).
  static Communicator world();
  /// This rank alone.
  static Communicator self();

  Communicator(Communicator&& other) noexcept;
  Communicator& operator=(Communicator&& other) noexcept;
  ~Communicator();

  /// The ranks with equal `color`, ordered by `key`, then by rank here.
  /// Inherits the deterministic flag. Collective.
  Communicator split(int color, int key = 0) const;
  /// The ranks of this communicator that can share memory, in its order. Collective.
  Communicator split_by_node() const;

  int rank() const { return m_rank; }
  int size() const { return m_size; }
  bool is_root() const { return m_rank == 0; }
  MPI_Comm handle() const { return m_handle; }

  /// True if floating-point sums have the order of comm/tree_sum.hpp, so that they do not depend on
  /// the algorithm that MPI picks. Set equally on all ranks.
  bool deterministic() const { return m_deterministic; }
  void set_deterministic(bool on) { m_deterministic = on; }

 private:
  explicit Communicator(MPI_Comm owned, bool deterministic = false);
  void release();

  MPI_Comm m_handle = MPI_COMM_NULL;
  int m_rank = 0, m_size = 1;
  bool m_deterministic = false;
};

}  // namespace elastic
