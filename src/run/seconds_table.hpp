// SPDX-License-Identifier: Apache-2.0
// Predicted against measured time of every budget, for budgets in seconds.
#pragma once
#include <string>

#include "run/report_document.hpp"
#include "run/results.hpp"

namespace elastic {

/// A section of the report; nothing where no budget has a measured time.
void add_seconds(ReportDocument& report, const RunConfig& config, const RunResults& results);
/// One line for the log: the largest difference; empty where nothing was measured.
std::string seconds_line(const RunResults& results);

}  // namespace elastic
