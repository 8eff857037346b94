// SPDX-License-Identifier: Apache-2.0
// Pictures of a run. The Python script scripts/plot_run.py draws them; the program holds a copy.
#pragma once
#include <optional>
#include <string>

#include "run/folder/run_folder.hpp"

namespace elastic {

/// Writes plot.py into the run folder and runs it with $ELASTIC_PYTHON, or else with the python
/// found when this program was built. Returns why there are no pictures, in one line, or nothing if
/// they are drawn. Never throws; ends the script after `limit_seconds`. Call on one rank.
std::optional<std::string> draw_plots(const RunFolder& folder, double limit_seconds = 60);

}  // namespace elastic
