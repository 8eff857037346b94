// SPDX-License-Identifier: Apache-2.0
// report.md and report.html: what a run did and achieved, for people.
#pragma once
#include <string>

#include "run/results.hpp"

namespace elastic {

/// Draws the pictures (run/plots.hpp) and writes report.md and, with them inside,
/// report.html. Without python or matplotlib there are
/// no pictures: one warning, and the report tells how to draw them later. Call on one rank, after
/// write_results. Throws RunError if a file cannot be written.
void write_report(const RunFolder& folder, const RunConfig& config, const Curriculum& curriculum,
                  const RunResults& results, const std::string& region_table);

}  // namespace elastic
