// SPDX-License-Identifier: Apache-2.0
// --check: what a deck would run, need and cost, from formulas alone;
// nothing is trained or allocated.
#pragma once
#include <string>

#include "plan/machine.hpp"
#include "config/run_config.hpp"

namespace elastic {

/// Parent, reachable budgets, stages, memory per rank, work and communication per step,
/// and files, as text for people; with a machine, predicted times too. Formulas: plan/budgets.hpp,
/// plan/memory.hpp, plan/work.hpp, plan/time.hpp. Throws InputError if a budget cannot be
/// met within <elastic>/tolerance, or if the file <job>/parent is there and holds another model
/// than the deck describes.
std::string run_plan(const ResolvedDeck& deck, int ranks, const Machine* machine = nullptr);
/// The files that a run of the deck reads: the parent and the data. The plan says which are there.
std::vector<std::string> needed_files(const RunConfig& config);

}  // namespace elastic
