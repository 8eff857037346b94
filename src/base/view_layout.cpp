// SPDX-License-Identifier: Apache-2.0
#include "base/view_layout.hpp"

#include "base/error.hpp"
#include "base/types.hpp"

namespace elastic {
namespace {

/// Views of all ranks with numbers behind them, in whose places padding would show.
struct Probe {
  View1<float> vector;
  double after_vector;
  View2<const float> matrix;
  double after_matrix;
  View3<float> cube;
  index_t after_cube;
};
constexpr index_t num_readings = 7;
constexpr index_t length = 3, height = 5, width = 7, depth = 11;

/// What a kernel (or the host) finds in a probe.
KOKKOS_INLINE_FUNCTION void read(const Probe& probe, double* readings) {
  readings[0] = static_cast<double>(probe.vector.extent(0));
  readings[1] = probe.after_vector;
  readings[2] = static_cast<double>(probe.matrix.extent(0));
  readings[3] = static_cast<double>(leading_dimension(probe.matrix));
  readings[4] = probe.after_matrix;
  readings[5] = static_cast<double>(probe.cube.extent(2));
  readings[6] = static_cast<double>(probe.after_cube);
}

}  // namespace

void require_equal_view_layouts() {
  static float never_read;  // an address that is not null; extents are all that is looked at
  const Probe probe{View1<float>(&never_read, length),
                    0.5,
                    View2<float>(&never_read, height, width),
                    1.5,
                    View3<float>(&never_read, height, width, depth),
                    13};
  const View1<double> readings("elastic::view_layout", num_readings);
  Kokkos::parallel_for(
      "elastic::view_layout", Kokkos::RangePolicy<ExecutionSpace>(0, 1),
      KOKKOS_LAMBDA(const int) { read(probe, readings.data()); });
  const auto h_readings = Kokkos::create_mirror_view_and_copy(HostSpace(), readings);
  double expected[num_readings];
  read(probe, expected);
  for (index_t i = 0; i < num_readings; ++i)
    if (h_readings(i) != expected[i])
      throw RunError(
          "this build's compilers for host and device disagree on how a Kokkos::View lies in "
          "memory, so that no kernel would work. Build with a newer Kokkos, or build Kokkos with "
          "-DKokkos_ENABLE_IMPL_VIEW_LEGACY=ON -DKokkos_ENABLE_IMPL_MDSPAN=OFF");
}

}  // namespace elastic
