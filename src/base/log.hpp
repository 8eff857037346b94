// SPDX-License-Identifier: Apache-2.0
// What a person reads while a run goes on. Rank 0 speaks; other ranks are silent below `error`.
#pragma once
#include <spdlog/spdlog.h>

namespace elastic::log {

/// Call once after MPI is up. `rank` != 0 only prints errors, prefixed with its rank.
void initialize(int rank);

using spdlog::error;
using spdlog::info;
using spdlog::warn;

}  // namespace elastic::log
