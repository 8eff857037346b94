// SPDX-License-Identifier: Apache-2.0
// What a checkpoint takes of memory and time when all ranks write it together
// (state/checkpoint_saver).
//
// Each of R ranks writes b/R of the b bytes of a file:
//
//   steps wait for the copy     b/R / copy rate
//   meanwhile it is written     max(2 b/R / rate of a rank, 2 b / rate of the file system)
//                               2: all bytes are read back from the disk
#pragma once
#include <string>

#include "config/run_config.hpp"
#include "plan/machine.hpp"

namespace elastic {

struct SavePlan {
  double bytes = 0;          ///< of the file
  double bytes_of_rank = 0;  ///< what one rank copies and writes
  double copy_seconds = 0, write_seconds = 0;
  /// How long steps wait for it.
  double delay(bool asynchronous) const {
    return copy_seconds + (asynchronous ? 0 : write_seconds);
  }
};

/// The rates of a file system of which nothing is known: those that a machine file may leave out,
/// and 200 MB/s for one rank.
Machine unknown_file_system();
SavePlan plan_save(double bytes, int ranks, const Machine& machine);
/// "each of 8 ranks writes 1.2 GB; steps wait 1.2 s, ...".
std::string describe(const SavePlan& plan, int ranks, const Machine& machine, bool asynchronous);

/// Host memory of a rank: for the copy of what it writes, which is kept, and for messages and what
/// is read back. `bytes`: of the tensors of the largest file; `largest_tensor`: of one of them.
struct SaveMemory {
  double copy = 0, buffers = 0;
};
SaveMemory save_memory(double bytes, double largest_tensor, int ranks);

}  // namespace elastic
