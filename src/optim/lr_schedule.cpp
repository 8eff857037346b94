// SPDX-License-Identifier: Apache-2.0
// The four decays of lr_schedule.hpp.
#include "optim/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.hpp"

namespace elastic {
namespace {

/// How far `step` has come on the way from `begin` to `end`, in [0, 1]; 1 for an empty way.
double progress(double step, double begin, double end) {
  return end > begin ? std::clamp((step - begin) / (end - begin), 0.0, 1.0) : 1.0;
}

}  // namespace

double LrSchedule::at(index_t step) const {
  ELASTIC_REQUIRE(step >= 1, "steps count from 1, got {}", step);
  if (step < warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (kind == LrKind::constant || step == warmup_steps) return peak;

  const auto now = static_cast<double>(step), warm = static_cast<double>(warmup_steps),
             total = static_cast<double>(total_steps);
  double height = 1;  // of the decaying part: 1 at the peak, 0 at the end
  switch (kind) {
    case LrKind::linear:
      height = 1 - progress(now, warm, total);
      break;
    case LrKind::cosine:
      height = (1 + std::cos(std::numbers::pi * progress(now, warm, total))) / 2;
      break;
    case LrKind::wsd: {
      const double decay_begin = std::max(warm, total - decay_fraction * total);
      height = 1 - std::sqrt(progress(now, decay_begin, total));
      break;
    }
    case LrKind::constant:
      break;
  }
  return peak * (final_fraction + (1 - final_fraction) * height);
}

}  // namespace elastic
