// SPDX-License-Identifier: Apache-2.0
// Where a state comes from: a file that one rank reads by itself, or that all ranks of a run read
// together: each reads and verifies some blocks and hands out the parts.
#pragma once
#include "comm/all_ranks_agree.hpp"
#include "io/checkpoint_file.hpp"
#include "parallel/process_grid.hpp"
#include "state/state_tensors.hpp"

namespace elastic {

class StateReader {
 public:
  /// This rank reads whole tensors and takes its part of them.
  StateReader(const CheckpointReader& file) : m_file(&file) {}
  /// For all ranks of a grid, each of which has opened the file: every byte of it is read once.
  StateReader(const CheckpointReader& file, const ProcessGrid& grid)
      : m_file(&file), m_grid(&grid) {}

  const CheckpointReader& file() const { return *m_file; }
  Sharers sharers() const;
  /// Runs work() on every rank; an error of one is thrown on all that read together.
  template <class Work>
  void agree(const Work& work) const {
    m_grid ? all_ranks_agree(m_grid->world, work) : work();
  }
  /// Reads tensors and stores them, converted to their types. With a grid collective, and an error
  /// of one rank is thrown on all. Throws InputError naming the file and the tensor that is
  /// missing, damaged or of other extents, NumericsError for a number that is not finite.
  void tensors(const StateTensors& wanted) const;

 private:
  void read_alone(const StateTensors& wanted) const;
  void read_together(const StateTensors& wanted) const;

  const CheckpointReader* m_file;
  const ProcessGrid* m_grid = nullptr;
};

}  // namespace elastic
