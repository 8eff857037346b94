// SPDX-License-Identifier: Apache-2.0
// From a deck and a ranked parent to what picks submodels: space, router, and the submodel that a
// router's logits give for budgets.
#pragma once
#include "config/run_config.hpp"
#include "elastic/family.hpp"

namespace elastic {

/// The elastic space of the deck, with the drop order of a ranking (if it has one).
ElasticSpace ranked_space(const RunConfig& config, const ModelShape& parent,
                          const std::vector<index_t>& drop_order);

/// A router with initial weights for the decisions of `space`.
Router<Accumulate<Real>> make_router(const RunConfig& config, const ModelShape& parent,
                                     const ElasticSpace& space);

/// What a submodel must meet: <elastic>/tolerance and the costs of <elastic>/budget_kind. Throws
/// InputError for budgets in seconds before anything was measured.
ChoiceRules choice_rules(const RunConfig& config);
/// The router's logits for any budget. `router` must outlive it.
LogitsOf logits_of(const RunConfig& config, const Router<Accumulate<Real>>& router);
/// The submodels of the trained budgets, or of all (all_budgets), in their order and with their
/// names, nested where that meets them (elastic/family.hpp). Throws InputError naming the nearest
/// reachable budgets. With <router>/widths = homogeneous they are the homogeneous submodels.
std::vector<SubmodelSpec> choose_family(const RunConfig& config, const ModelShape& parent,
                                        const ElasticSpace& space,
                                        const Router<Accumulate<Real>>& router,
                                        bool with_extra_budgets);
/// The submodel of one more budget beside those of `family`, by the same rules.
SubmodelSpec choose_member(const RunConfig& config, const ModelShape& parent,
                           const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                           double budget, const std::vector<SubmodelSpec>& family);
/// The submodel of one budget beside those of the trained ones: theirs, or one between them.
SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                             double budget);

}  // namespace elastic
