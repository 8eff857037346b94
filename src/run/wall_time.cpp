// SPDX-License-Identifier: Apache-2.0
#include "run/wall_time.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "config/wall_time_text.hpp"
#include "run/batch_system.hpp"

namespace elastic {
namespace {
constexpr double most_margin = 60;  // seconds
const double g_program_start = wall_seconds();

}  // namespace

std::optional<double> wall_time_left(const std::string& given) {
  if (given.empty()) return time_left_of_the_job();
  return parse_wall_time(given) - (wall_seconds() - g_program_start);
}

WallTime::WallTime(double seconds_left, double checkpoint_seconds, Clock clock)
    : m_limited(true),
      m_clock(clock),
      m_end(clock() + seconds_left),
      m_checkpoint(checkpoint_seconds),
      m_margin(std::clamp(seconds_left / 20, 0.0, most_margin)),
      m_last(clock()) {
  log::info("wall time: {:.0f} s left", seconds_left);
}

void WallTime::saved(double seconds, double waited) {
  m_checkpoint = seconds;
  m_saving += waited;
}

bool WallTime::another_step_fits(int num_saves) {
  if (!m_limited) return true;
  const double now = m_clock();
  m_slowest = std::max(m_slowest, now - m_last - m_saving);
  m_last = now;
  m_saving = 0;
  const double saving = num_saves * m_checkpoint;
  if (now + m_slowest + saving + m_margin < m_end) return true;
  log::info("wall time: {:.1f} s left; a step may take {:.1f} s, saving {:.1f} s, the end {:.1f} s",
            m_end - now, m_slowest, saving, m_margin);
  return false;
}

}  // namespace elastic
