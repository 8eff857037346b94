// SPDX-License-Identifier: Apache-2.0
// Time steps of Mamba layers are never clamped here; some programs clamp them, as config.json says:
//
//   dt_h = softplus(w_h . x + b_h),  x = g * RMSNorm(u),  |RMSNorm(u)| <= sqrt(D)
//
// so that no input takes dt_h out of softplus(b_h -+ sqrt(D) |g * w_h|). A clamp outside of that
// range changes nothing.
#pragma once
#include <limits>
#include <string>
#include <vector>

namespace elastic {

struct HfFolder;

/// What config.json says of clamps.
struct TimeStepClamps {
  /// transformers clamps from below at it, and takes this value where the key is missing.
  double time_step_min = 1e-3;
  bool has_time_step_min = false;
  /// time_step_limit: the published code and mlx-lm clamp to it.
  double lowest = 0, highest = std::numeric_limits<double>::infinity();
};

/// The time steps that the weights of a folder allow, in all layers together.
struct TimeStepRange {
  double lowest = std::numeric_limits<double>::infinity(), highest = 0;
  bool empty() const { return lowest > highest; }  ///< no layer has time steps
};
TimeStepRange time_step_range(const HfFolder& folder);

/// Throws InputError naming the limit and the range if time_step_limit may change a time step.
/// Returns the warning that time_step_min deserves, or nothing.
std::string check_time_steps(const HfFolder& folder, const std::string& config_file);

}  // namespace elastic
