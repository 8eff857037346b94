// SPDX-License-Identifier: Apache-2.0
// What a step measured, as a text in the checkpoint of a run that was stopped while it validated
// after that step: the resumed run does the validation again and writes the row of the step with
// the digits of an unbroken run.
#pragma once
#include <optional>

#include "io/checkpoint_file.hpp"
#include "train/train_sums.hpp"

namespace elastic {

void write_pending_step(CheckpointWriter& file, const StepMetrics& metrics);
/// Nothing if the row of the last step was written. Throws InputError for a text that is none.
std::optional<StepMetrics> read_pending_step(const CheckpointReader& file);

/// All numbers, exactly.
std::string step_to_text(const StepMetrics& metrics);
/// Throws InputError naming `file`.
StepMetrics step_from_text(const std::string& text, const std::string& file);

}  // namespace elastic
