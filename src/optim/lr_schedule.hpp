// SPDX-License-Identifier: Apache-2.0
// Learning rate as a pure function of the step: nothing to save, a resumed run continues by itself.
#pragma once
#include "base/types.hpp"

namespace elastic {

enum class LrKind { constant, cosine, linear, wsd };

/// Linear warm-up, then a decay from `peak` to `final_fraction * peak` that ends at `total_steps`.
/// With p = (step - warmup) / (total - warmup) and f = final_fraction:
///
///   constant  peak
///   linear    peak (1 - (1-f) p)
///   cosine    peak (f + (1-f) (1 + cos(pi p)) / 2)
///   wsd       peak, then peak (1 - (1-f) sqrt(q)), q = 0..1 over the last
///             decay_fraction * total steps
///
/// cosine and wsd as in Megatron-LM (`wsd` with its "minus_sqrt" decay; Haegele et al. 2024).
struct LrSchedule {
  LrKind kind = LrKind::cosine;
  double peak = 1e-3;           ///< reached at step `warmup_steps`
  index_t warmup_steps = 0;     ///< lr = peak * step / warmup_steps up to here
  double final_fraction = 0.1;  ///< lr from `total_steps` on, as part of the peak; not for constant
  index_t total_steps = 1;
  double decay_fraction = 0.2;  ///< wsd only: part of total_steps that decays

  /// Learning rate of update `step`, counted from 1. Throws ContractError for step < 1.
  double at(index_t step) const;
};

}  // namespace elastic
