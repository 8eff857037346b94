// SPDX-License-Identifier: Apache-2.0
// The parts of the binding of deck keys (config/run_config_schema.hpp) that have files of their
// own, and the ranges that they share.
#pragma once
#include "arch/shape_limits.hpp"
#include "config/run_config.hpp"
#include "deck/schema.hpp"

namespace elastic {

/// Whole numbers are bounded, far beyond any use, so that what is computed from a few of them
/// (steps, tokens, elements) is exact. Real numbers are bounded by the deck itself
/// (deck/value.hpp).
namespace limits {
inline constexpr double most_steps = 1e9;
inline const Interval extents = Interval::between(1, static_cast<double>(max_extent));
inline const Interval steps = Interval::between(0, most_steps);
inline const Interval interval_steps = Interval::between(1, most_steps);
inline const Interval lengths = Interval::between(1, 1 << 24);  // tokens of a sequence
inline const Interval sequences = Interval::between(1, 1 << 20);
inline const Interval ranks = Interval::between(1, 1 << 20);
inline const Interval files = Interval::between(1, 1e6);
}  // namespace limits
inline const Interval not_negative = Interval::at_least(0),
                      positive_fraction{.low = 0, .high = 1, .low_open = true};

/// Blocks <elastic>, <router> and <distill>.
void bind_elastic(Schema& schema, RunConfig& config);
/// Block <rank>.
void bind_rank(Schema& schema, RankConfig& rank);
/// Blocks <optimizer>, <precision>, <parallel>, <evaluate>, <checkpoint>, <output>
/// and <comparison>.
void bind_machinery(Schema& schema, RunConfig& config);

}  // namespace elastic
