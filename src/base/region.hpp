// SPDX-License-Identifier: Apache-2.0
// Named regions of a run: seen by Kokkos Tools and timed, with the floating-point operations
// counted inside.
//
//   { Region region("update"); optimizer.step(...); }
#pragma once
#include <map>
#include <string>

namespace elastic {

/// What a region took, over all times that it was open on this rank.
struct RegionTotals {
  long calls = 0;
  double seconds = 0;  ///< wall time
  double flops = 0;    ///< floating-point operations counted by add_flops while the region was open
};

/// Whether a region waits for the device at its begin and end. Parts of a micro-batch do not: on a
/// device, which works on while the host is further, they have the time of their launches, and the
/// region that waits has the rest. On a processor kernels are done when they return, and all times
/// are exact.
enum class Fenced { yes, no };

/// A region that is open from construction to destruction; regions nest.
class Region {
 public:
  explicit Region(const std::string& name, Fenced fenced = Fenced::yes);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  /// Totals of all regions closed so far on this rank, by path ("step/forward").
  static const std::map<std::string, RegionTotals>& totals();
  /// Forgets all totals.
  static void reset();

 private:
  Fenced m_fenced;
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
