// SPDX-License-Identifier: Apache-2.0
// The phase `measure`: how long the inference of every part of a model takes on this machine, at
// widths from the largest to the smallest, and the terms that say it for all widths between
// (doc/measured_budgets.md).
#pragma once
#include "config/run_config.hpp"
#include "elastic/measured/measured_times.hpp"
#include "model/inference_time.hpp"

namespace elastic {

/// Collective; all ranks measure at once, and the slowest counts. Layers of equal shape are timed
/// together, one after the other as in the model, so that their weights come from where they come
/// from in use. Throws Stopped on all ranks if one was asked to stop.
template <class T>
MeasuredTimes measure_times(const Communicator& comm, const RunConfig& config,
                            const LanguageModel<T>& model, Arena& arena);

/// Collective. Seconds per token of whole submodels, taken in turn.
template <class T>
std::vector<double> measure_submodels(const Communicator& comm, const RunConfig& config,
                                      const LanguageModel<T>& model, Arena& arena,
                                      const std::vector<SubmodelSpec>& specs);

/// What was measured and how well the terms fit, for people.
std::string describe(const MeasuredTimes& times);

}  // namespace elastic
