// SPDX-License-Identifier: Apache-2.0
// The parts of the binding of deck keys (config/run_config_schema.hpp) that have files of their
// own, and the ranges that they share.
#pragma once
#include "config/run_config.hpp"
#include "deck/schema.hpp"

namespace elastic {

inline const Interval at_least_one = Interval::at_least(1), at_least_zero = Interval::at_least(0),
                      not_negative = Interval::at_least(0),
                      positive_fraction{.low = 0, .high = 1, .low_open = true};

/// Blocks <elastic>, <router> and <distill>.
void bind_elastic(Schema& schema, RunConfig& config);
/// Block <rank>.
void bind_rank(Schema& schema, RankConfig& rank);
/// Blocks <optimizer>, <precision>, <parallel>, <evaluate>, <checkpoint>, <output>
/// and <comparison>.
void bind_machinery(Schema& schema, RunConfig& config);

}  // namespace elastic
