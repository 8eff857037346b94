// SPDX-License-Identifier: Apache-2.0
// Budgets in measured seconds: whether a deck counts them, and the times that its costs need.
#pragma once
#include "config/run_config.hpp"
#include "elastic/measured/measured_times.hpp"

namespace elastic {

/// True if budgets count seconds; and if nothing was measured for them yet.
bool counts_seconds(const RunConfig& config);
bool lacks_times(const RunConfig& config);
/// The word of a deck: "prefill" or "decode".
const char* inference_pass_name(InferencePass pass);
/// The inference whose time counts, in words: "prefill of 1 sequence of 1024 tokens".
std::string inference_text(const SecondsConfig& seconds);

/// Throws one InputError beginning with `file` unless the times are those of the deck's inference,
/// of layers of its parent, and of widths down to the smallest that it allows.
void check_times(const RunConfig& config, const MeasuredTimes& times, const std::string& file);
/// Reads the text of measured times, checks them and gives them to every cost in seconds.
void give_times(RunConfig& config, const std::string& text, const std::string& file);
/// The deck with costs that can be computed before anything is measured: FLOPs of the same length
/// stand in for seconds.
RunConfig with_known_costs(RunConfig config);

}  // namespace elastic
