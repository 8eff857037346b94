// SPDX-License-Identifier: Apache-2.0
// A machine of round numbers, and one on which only computing takes time.
#pragma once
#include <limits>

#include "plan/machine.hpp"

namespace elastic::test {

inline const std::string example_machine = R"(
<rank>
matrix_products  = 100e9
attention        = 50e9
scan             = 25e9
kernel_bandwidth = 20e9
memory_bandwidth = 10e9
<node>
ranks     = 4
latency   = 1e-6
bandwidth = 5e9
<network>
latency   = 4e-6
bandwidth = 1e9
overlap   = 0.5
<files>
bandwidth = 2e8
)";

inline Machine machine_for_tests() { return read_machine(example_machine, "machine.in"); }

/// One rate of operations, everything else takes no time.
inline Machine machine_of_pure_arithmetic(double rate) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  Machine machine = machine_for_tests();
  machine.rank = {.matrix_products = rate,
                  .attention = rate,
                  .scan = rate,
                  .kernel_bandwidth = infinite,
                  .memory_bandwidth = infinite};
  machine.node = machine.network = {.latency = 0, .bandwidth = infinite, .overlap = 0};
  return machine;
}

}  // namespace elastic::test
