// SPDX-License-Identifier: Apache-2.0
// How long this job may still run, and whether another step and a checkpoint fit into that.
#pragma once
#include <optional>
#include <string>

#include "base/region.hpp"

namespace elastic {

/// Seconds that this job may still run; nothing if there is no limit or none is known.
/// `given`: the time that the whole program may take from its start, in the formats above; empty:
/// what Slurm has left for the job that this process belongs to, if it does (SLURM_JOB_END_TIME, or
/// an answer of squeue).
std::optional<double> wall_time_left(const std::string& given);

/// Stops a run before its time is up. One rank keeps the clock and tells the others.
class WallTime {
 public:
  using Clock = double (*)();
  /// Without limit.
  WallTime() = default;
  /// `seconds_left` from now on. `checkpoint_seconds`: what a checkpoint may take, until one has
  /// been saved. A margin is kept for the end of the program: a twentieth of the time, at most a
  /// minute.
  WallTime(double seconds_left, double checkpoint_seconds, Clock clock = wall_seconds);

  /// A checkpoint has been saved, and that took so long.
  void saved(double seconds);
  /// After every step. False if the slowest step so far (with its validation), `num_saves`
  /// checkpoints like the last one and the margin need more than the time left; says so in the log.
  bool another_step_fits(int num_saves = 1);

 private:
  bool m_limited = false;
  Clock m_clock = wall_seconds;
  double m_end = 0, m_checkpoint = 0, m_margin = 0;  // seconds
  double m_last = 0, m_saving = 0, m_slowest = 0;    // end of the last step; saved since; any step
};

}  // namespace elastic
