// SPDX-License-Identifier: Apache-2.0
// Pictures of a run. The Python script scripts/plot_run.py draws them; the program holds a copy.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "run/folder/run_folder.hpp"

namespace elastic {

/// Writes plot.py into the run folder and runs it with $ELASTIC_PYTHON, or else with the python
/// found when this program was built. Returns why there are no pictures, in one line, or nothing if
/// they are drawn. Never throws; ends the script after `limit_seconds`. Call on one rank.
std::optional<std::string> draw_plots(const RunFolder& folder, double limit_seconds = 60);

/// Runs a program without a shell, with empty input, and waits. Returns its exit status, or nothing
/// if it cannot be started, was ended by a signal or ran beyond `limit_seconds`.
/// `output` takes the last line that it printed.
std::optional<int> run_program(const std::vector<std::string>& command, double limit_seconds,
                               std::string& output);

}  // namespace elastic
