// SPDX-License-Identifier: Apache-2.0
// The precision of a run whose deck leaves it to the program (<precision>/compute = auto).
//
//   bfloat16   where all ranks multiply it faster than float32 and the model is wide enough
//   float32    elsewhere, and with <job>/deterministic: digits that depend on no processor
//
// Everything the rule looks at is the same on all ranks, so that their answers are.
#pragma once
#include "config/run_config.hpp"
#include "plan/machine.hpp"

namespace elastic {

/// Widths from which on bfloat16 pays. On a processor with AMX a step takes 0.7 of float32's time
/// at 64 channels, 0.6 at 128, 0.45 at 256 and 0.4 at 768 (doc/performance.md). Narrower models
/// train in minutes anyhow, and their small decks give the same digits on more machines.
inline constexpr index_t least_bfloat16_width = 128;

/// What the ranks of a run are.
struct RankArithmetic {
  int ranks = 1;
  int with_fast_bfloat16 = 0;  ///< kernels::bfloat16_products_are_fast()
};

/// The rule above and, for people, why.
PrecisionConfig choose_precision(const RunConfig& config, const RankArithmetic& arithmetic);

/// The rule for a run that is only planned, on a machine of which a file tells: its ranks multiply
/// bfloat16 faster if its rates are of bfloat16. The machine that plans does not matter.
PrecisionConfig choose_precision(const RunConfig& config, const Machine& machine);

}  // namespace elastic
