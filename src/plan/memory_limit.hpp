// SPDX-License-Identifier: Apache-2.0
// Whether a run can fit into the machine at all, asked before anything is allocated: most systems
// promise memory that they do not have, and end the program when it is touched.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// Bytes of main memory of the machine that the program runs on.
double machine_memory();

/// Throws InputError if one rank alone needs more than `limit` bytes by the plan (plan/memory.hpp),
/// naming the largest part and the keys that decide it.
void require_memory(const RunConfig& config, int ranks, double limit);

}  // namespace elastic
