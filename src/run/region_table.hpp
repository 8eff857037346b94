// SPDX-License-Identifier: Apache-2.0
// Where the time of a run went: its regions (base/region.hpp) over all ranks.
//
//   log::info("{}", region_table(world, measure_gemm_peak<float>(ExecutionSpace())));
#pragma once
#include <string>

#include "base/types.hpp"
#include "comm/communicator.hpp"

namespace elastic {

/// One line per region, indented below its parent, siblings by falling time. The columns:
///
///   calls        the most of any rank
///   seconds      least, mean and largest over the ranks; 0 for a rank that did not enter
///   percent      of the sum of the outermost regions
///   GFLOP/s      per rank: all FLOPs / all seconds
///   percent      of the peak that was measured
///   slowest      on several ranks: the rank of the largest time
///   above        how far that is above the mean
///
/// On several ranks a last line names the straggler: the rank and the innermost region, waiting for
/// others apart, where a rank lies most seconds above the mean.
///
/// Collective; equal text on all ranks, no line break at the end. [in] peak_flops_per_rank: FLOP/s
/// measured by this rank; 0 leaves the last column empty.
std::string region_table(const Communicator& comm, double peak_flops_per_rank);

/// FLOP/s of this rank's kernels::gemm<T>: the best of at most 5 large square products. Takes
/// about 0.1 s at most. What it computes counts in no region.
template <class T>
double measure_gemm_peak(const ExecutionSpace& exec);

}  // namespace elastic
