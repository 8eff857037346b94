// SPDX-License-Identifier: Apache-2.0
// From a deck and a ranked parent to what picks submodels: space, router, and the submodel that a
// router's logits give for a budget.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// The elastic space of the deck, with the drop order of a ranking (if it has one).
ElasticSpace ranked_space(const RunConfig& config, const ModelShape& parent,
                          const std::vector<index_t>& drop_order);

/// A router with initial weights for the decisions of `space`.
Router<Accumulate<Real>> make_router(const RunConfig& config, const ModelShape& parent,
                                     const ElasticSpace& space);

/// The submodel that costs `budget` (a fraction of the parent's cost) within <elastic>/tolerance;
/// logits: one list per decision. Throws InputError naming the nearest reachable budgets.
SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Probabilities& logits, double budget);
SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                             double budget);

}  // namespace elastic
