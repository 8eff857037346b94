// SPDX-License-Identifier: Apache-2.0
// Which layers keep only their input from the forward to the backward pass (<parallel>/recompute =
// fit): in each stage as few as make a rank fit into <parallel>/memory_limit. Layers are taken in
// the order of the bytes that they keep per operation of their forward pass, which is repeated.
// Results do not change, to the bit.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// Parameters of the router that the deck asks for; 0 without elastic stages.
index_t router_size(const RunConfig& config, const ModelShape& parent);

/// The deck with the choice for each of its stages (StageConfig::recomputed). Where a rank fits
/// with no choice, all layers are recomputed. Nothing is chosen without a limit.
/// `router_parameters`: of router_size; `ranks`: of the run.
RunConfig with_recomputation(RunConfig config, const ModelShape& parent, index_t router_parameters,
                             int ranks);
/// `deck` with the choice for a run on so many ranks.
ResolvedDeck with_recomputation(ResolvedDeck deck, int ranks);

/// Lines of the plan: the recomputed layers of each stage, what that saves and what it costs.
/// `config`: with the choice.
std::string recomputation_lines(const RunConfig& config, const ModelShape& parent);

}  // namespace elastic
