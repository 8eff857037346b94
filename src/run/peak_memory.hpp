// SPDX-License-Identifier: Apache-2.0
// Physical memory of this process, and the line that compares it with the plan at the end of a run.
#pragma once
#include <string>

#include "comm/communicator.hpp"

namespace elastic {

/// Bytes of physical memory held now, and the most held so far (VmRSS and VmHWM
/// of /proc/self/status, which Linux has); 0 where the system does not tell.
double resident_bytes();
double peak_resident_bytes();

/// From now on arrays of a MiB and more go back to the system when they are freed. Without this,
/// the GNU C library keeps freed arrays of up to 32 MiB for later.
void return_freed_arrays();

/// Collective. "peak memory of a rank: 1.23 GB measured ..., 1.20 GB planned (+2.5%)", for the rank
/// that held most. `before`: bytes held when the run began (program and libraries), which the plan
/// does not count. Where tensors live on a device, the measured number is that of the host.
std::string peak_memory_line(const Communicator& comm, double before, double planned);

}  // namespace elastic
