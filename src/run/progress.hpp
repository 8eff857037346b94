// SPDX-License-Identifier: Apache-2.0
// What a person sees while a run trains: one line that renews itself on a terminal, plain
// lines at intervals in a log file.
#pragma once
#include "config/curriculum.hpp"
#include "train/train_step.hpp"

namespace elastic {

class Progress {
 public:
  /// Silent unless `speaks` (rank 0). `interval`: steps between lines of a log file.
  Progress(const Curriculum& curriculum, index_t first_step, index_t interval, bool speaks);
  /// Shows the state after step `step`.
  void report(index_t step, const StepMetrics& metrics);
  /// Ends the renewed line, so that other output may follow.
  void finish_line();

 private:
  std::string line(index_t step, const StepMetrics& metrics) const;

  const Curriculum& m_curriculum;
  index_t m_first_step, m_interval;
  bool m_speaks, m_terminal, m_open_line = false;
  double m_start_seconds, m_last_update = 0;
};

/// "1:02:03" or "2:03".
std::string clock_text(double seconds);

}  // namespace elastic
