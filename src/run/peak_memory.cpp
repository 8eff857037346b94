// SPDX-License-Identifier: Apache-2.0
#include "run/peak_memory.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/types.hpp"
#include "comm/collectives.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

/// A line "NAME:   123 kB" of /proc/self/status.
double status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":"))
      return 1024 * std::strtod(line.c_str() + name.size() + 1, nullptr);
  return 0;
}

}  // namespace

double resident_bytes() { return status_bytes("VmRSS"); }
double peak_resident_bytes() { return status_bytes("VmHWM"); }

void return_freed_arrays() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

std::string peak_memory_line(const Communicator& comm, double before, double planned) {
  const double peak = all_reduce_max(comm, peak_resident_bytes()),
               least_before = all_reduce_min(comm, before);
  if (peak == 0)
    return fmt::format("peak memory of a rank: not measured on this system, {} planned",
                       in_bytes(planned));
  if (!Kokkos::SpaceAccessibility<HostSpace, MemorySpace>::accessible)
    return fmt::format("peak memory of a rank: {} measured on the host, {} planned on the device",
                       in_bytes(peak), in_bytes(planned));
  const double measured = peak - least_before;
  return fmt::format(
      "peak memory of a rank: {} measured, {} planned ({:+.1f}%), besides {} of the "
      "program itself",
      in_bytes(measured), in_bytes(planned), 100 * (measured / planned - 1),
      in_bytes(least_before));
}

}  // namespace elastic
