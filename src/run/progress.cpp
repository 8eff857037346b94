// SPDX-License-Identifier: Apache-2.0
#include "run/progress.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/log.hpp"
#include "base/region.hpp"

namespace elastic {
namespace {
constexpr double seconds_between_updates = 0.2;

/// True if a person watches. mpirun gives its processes a terminal of their own even when its
/// output goes to a file, so what counts under it is the launcher's own output.
bool is_watched() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  if (std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return true;
  std::error_code failed;
  const auto output =
      std::filesystem::read_symlink(fmt::format("/proc/{}/fd/1", getppid()), failed).string();
  return !failed && (output.starts_with("/dev/pts/") || output.starts_with("/dev/tty"));
}
}  // namespace

std::string clock_text(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

Progress::Progress(const Curriculum& curriculum, index_t first_step, index_t interval, bool speaks)
    : m_curriculum(curriculum),
      m_first_step(first_step),
      m_interval(interval),
      m_speaks(speaks),
      m_terminal(is_watched()),
      m_start_seconds(wall_seconds()) {}

std::string Progress::line(index_t step, const StepMetrics& metrics) const {
  // What is left is estimated from tokens, not steps: stages differ in their sequence length.
  const double seconds = wall_seconds() - m_start_seconds;
  const auto tokens = static_cast<double>(m_curriculum.tokens_after(step) -
                                          m_curriculum.tokens_after(m_first_step));
  const auto left = static_cast<double>(m_curriculum.tokens_after(m_curriculum.total_steps) -
                                        m_curriculum.tokens_after(step));
  const double rate = tokens / seconds;
  return fmt::format("{:<9} step {:>5}/{}  loss {:8.5f}  |g| {:7.3f}  {:>7.0f} tokens/s  ETA {}",
                     m_curriculum.stage_of(step).config.name, step, m_curriculum.total_steps,
                     metrics.loss, metrics.gradient_norm, rate, clock_text(left / rate));
}

void Progress::report(index_t step, const StepMetrics& metrics) {
  if (!m_speaks) return;
  if (m_terminal) {
    const double now = wall_seconds();
    if (now - m_last_update < seconds_between_updates &&
        step != m_curriculum.stage_of(step).last_step())
      return;
    m_last_update = now;
    fmt::print("\r{}\x1b[K", line(step, metrics));
    std::fflush(stdout);
    m_open_line = true;
  } else if (step % m_interval == 0) {
    log::info("{}", line(step, metrics));
  }
}

void Progress::finish_line() {
  if (m_open_line) std::fputs("\n", stdout);
  m_open_line = false;
}

}  // namespace elastic
