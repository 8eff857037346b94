// SPDX-License-Identifier: Apache-2.0
// The files of a stored teacher in the plan: their bytes, what writing them takes, and whether what
// a run would read is there.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// Operations of the phase teach: the parent's forward pass and logits on all samples of the stages
/// whose teacher is stored. 0 without the phase.
double teaching_flops(const RunConfig& config, const ModelShape& parent);

/// Empty if no stage reads a stored teacher. `bytes`: working memory of a rank in the phase;
/// `seconds`: what it takes on a machine, 0: not known. Throws InputError where the deck lists no
/// phase teach, and what a stage reads is missing, damaged at its beginning, or of another parent
/// (if that is there), deck or data.
std::string teaching_lines(const RunConfig& config, const ModelShape& parent, double bytes,
                           double seconds);

}  // namespace elastic
