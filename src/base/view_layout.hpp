// SPDX-License-Identifier: Apache-2.0
// Whether host and device agree on how Views lie in memory. Kernels receive their Views as bytes;
// a pair of compilers that pads a View differently on the two sides hands over shifted ones, and
// every kernel then reads elsewhere. Seen with Kokkos 4.6.99, g++ 12.2 and nvcc 13.0.
#pragma once

namespace elastic {

/// Sends Views and numbers to a kernel and compares what arrives. Waits for the device.
/// Throws RunError, with the remedy, if something else arrives.
void require_equal_view_layouts();

}  // namespace elastic
