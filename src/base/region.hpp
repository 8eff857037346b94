// SPDX-License-Identifier: Apache-2.0
// Named regions of a run: seen by Kokkos Tools and timed (fenced on both sides), with
// the floating-point operations counted inside.
//
//   { Region region("forward"); model.forward(...); }
#pragma once
#include <map>
#include <string>

namespace elastic {

/// What a region took, over all times that it was open on this rank.
struct RegionTotals {
  long calls = 0;
  double seconds = 0;  ///< wall time, fenced
  double flops = 0;    ///< floating-point operations counted by add_flops while the region was open
};

/// A region that is open from construction to destruction; regions nest.
class Region {
 public:
  explicit Region(const std::string& name);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  /// Totals of all regions closed so far on this rank, by path ("step/forward").
  static const std::map<std::string, RegionTotals>& totals();
  /// Forgets all totals.
  static void reset();

 private:
  std::string m_parent_path;
  double m_start_seconds, m_start_flops;
};

/// Counts floating-point operations (2 per multiply-add). Called by kernels/products/gemm and by
/// the other kernels that dominate the arithmetic.
void add_flops(double flops);
/// FLOPs counted since the start of the program.
double counted_flops();
/// Seconds of a monotonic clock.
double wall_seconds();

}  // namespace elastic
