// SPDX-License-Identifier: Apache-2.0
#include "run/wall_time.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/error.hpp"
#include "base/log.hpp"
#include "config/wall_time_text.hpp"

namespace elastic {
namespace {
constexpr double most_margin = 60;  // seconds
const double g_program_start = wall_seconds();

std::string from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

/// The first line that a command prints; empty if it cannot run.
std::string first_line(const char* command) {
  std::FILE* pipe = popen(command, "r");
  if (pipe == nullptr) return "";
  std::array<char, 256> line = {};
  std::string text = std::fgets(line.data(), line.size(), pipe) == nullptr ? "" : line.data();
  pclose(pipe);
  text.erase(std::find(text.begin(), text.end(), '\n'), text.end());
  return text;
}

/// Seconds until a time that Slurm gives in seconds since 1970. Nothing, with a warning, for a text
/// that is no such time, or one of which the job cannot be: over already, or years ahead.
std::optional<double> seconds_until(const char* variable, const std::string& text) {
  constexpr std::int64_t most = 10LL * 366 * 24 * 3600;
  std::int64_t end = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), end);
  const std::int64_t left = end - static_cast<std::int64_t>(std::time(nullptr));
  if (status == std::errc() && stop == text.data() + text.size() && end > 0 && left > 0 &&
      left < most)
    return static_cast<double>(left);
  log::warn(
      "wall time: {} = {} is not taken for the end of this job; expected seconds since 1970, "
      "ahead by less than ten years",
      variable, text);
  return std::nullopt;
}

/// What squeue says of the time left.
std::optional<double> time_left_by_squeue() {
  const std::string left =
      first_line("squeue --noheader --jobs=\"$SLURM_JOB_ID\" --format=%L 2>/dev/null");
  if (left.empty() || left.find_first_not_of("0123456789:-") != std::string::npos) {
    log::info("wall time: Slurm names no limit");  // UNLIMITED, NOT_SET, INVALID, or no squeue
    return std::nullopt;
  }
  try {
    return parse_wall_time(left);
  } catch (const InputError& error) {
    log::warn("wall time: of what squeue says of job {}, {}; no limit is taken",
              from_environment("SLURM_JOB_ID"), error.what());
    return std::nullopt;
  }
}

/// Seconds left: Slurm 23.02 and later say when the job ends, earlier ones answer a question.
std::optional<double> time_left_by_slurm() {
  if (from_environment("SLURM_JOB_ID").empty()) return std::nullopt;
  const char* end = "SLURM_JOB_END_TIME";
  if (const std::string text = from_environment(end); !text.empty())
    if (const auto left = seconds_until(end, text)) return left;
  return time_left_by_squeue();
}
}  // namespace

std::optional<double> wall_time_left(const std::string& given) {
  if (given.empty()) return time_left_by_slurm();
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
