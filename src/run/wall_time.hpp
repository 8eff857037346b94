// SPDX-License-Identifier: Apache-2.0
// How long this job may still run, and whether another step and a checkpoint fit into that.
#pragma once
#include <optional>
#include <string>

#include "base/region.hpp"

namespace elastic {

/// Seconds that this job may still run; nothing if there is no limit or none is known.
/// `given`: the time that the whole program may take from its start, in the formats
/// of config/wall_time_text.hpp. If empty: what the batch system has left for the job of this
/// process (run/batch_system.hpp), if it has one.
std::optional<double> wall_time_left(const std::string& given);

/// Stops a run before its time is up. One rank keeps the clock and tells the others.
class WallTime {
 public:
  using Clock = double (*)();
  /// A clock without limit.
  WallTime() = default;
  /// A clock that ends `seconds_left` from now. `checkpoint_seconds`: what a checkpoint may take,
  /// until one has been saved. A margin is kept for the end of the program:
  /// a twentieth of the time, at most a minute.
  WallTime(double seconds_left, double checkpoint_seconds, Clock clock = wall_seconds);

  /// To be called when a checkpoint was saved, with the time it took, and how much of that steps
  /// have waited for.
  void saved(double seconds, double waited);
  void saved(double seconds) { saved(seconds, seconds); }
  /// To be called after every step. False if the time left is too short for the slowest
  /// step so far (with its validation), `num_saves` checkpoints like the last one
  /// and the margin; says so in the log.
  bool another_step_fits(int num_saves = 1);

 private:
  bool m_limited = false;
  Clock m_clock = wall_seconds;
  double m_end = 0, m_checkpoint = 0, m_margin = 0;  // seconds
  double m_last = 0, m_saving = 0, m_slowest = 0;    // end of the last step; saved since; any step
};

}  // namespace elastic
