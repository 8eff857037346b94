// SPDX-License-Identifier: Apache-2.0
// Measured times of an inference (elastic/measured/measured_times.hpp) in the files of a run that
// has budgets in seconds: the text `seconds` of every checkpoint from the phase `measure` on.
#pragma once
#include "config/run_config.hpp"
#include "io/checkpoint_file.hpp"
#include "model/inference_time.hpp"

namespace elastic {

/// The inference that <elastic>/seconds_* describe.
Inference inference_of(const RunConfig& config);

/// The text in a checkpoint; empty if it holds none.
std::string stored_times(const CheckpointReader& reader);
void write_times(CheckpointWriter& file, const std::string& text);
/// Gives the times that a checkpoint holds, if any, to the costs of its deck. Throws InputError
/// naming the file.
void give_stored_times(const CheckpointReader& reader, RunConfig& config);
/// The file <elastic>/seconds_from of a deck with budgets in seconds, checked; empty if it names
/// none. Throws InputError.
std::string read_given_times(const RunConfig& config);

}  // namespace elastic
