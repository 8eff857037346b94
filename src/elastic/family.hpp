// SPDX-License-Identifier: Apache-2.0
// The submodels of several budgets, chosen so that each is part of every larger one; and the
// comparison that needs no router.
#pragma once
#include <functional>

#include "elastic/submodel_choice.hpp"

namespace elastic {

/// The router's logits for a budget.
using LogitsOf = std::function<Probabilities(double budget)>;

/// The submodels of the `trained` budgets, then of the `extra` ones, in their order. From the
/// largest budget down, each trained one is the likeliest that meets its budget and is part of the
/// last one. Extra ones leave those of the trained budgets as they are: they lie between their
/// neighbours. Where nothing nested meets a budget, it is the likeliest without the bound of the
/// smaller, then without any (nesting_gaps says where). Throws InputError as choose_submodel.
std::vector<SubmodelSpec> choose_family(const ModelShape& parent, const ElasticSpace& space,
                                        const LogitsOf& logits, const std::vector<double>& trained,
                                        const std::vector<double>& extra, const ChoiceRules& rules);
/// The submodel of one more budget beside those of `family`, by the same rules.
SubmodelSpec choose_member(const ModelShape& parent, const ElasticSpace& space,
                           const Probabilities& logits, double budget,
                           const std::vector<SubmodelSpec>& family, const ChoiceRules& rules);

/// The space in which all layers of a kind have one width.
ElasticSpace homogeneous_space(ElasticSpace space);
/// Homogeneous widths that meet a budget without any router: every axis scaled alike. Of all
/// choices in the homogeneous space that meet the budget, those that drop the fewest layers; of
/// these, the one with the least ratio of the largest and the smallest kept part of an axis; of
/// equals, the one nearest to the budget. Tries all of them. Throws InputError if there is none.
SubmodelSpec homogeneous_submodel(const ModelShape& parent, const ElasticSpace& space,
                                  double budget, const ChoiceRules& rules);
/// The draw that computes exactly `spec`: probability 1 for its width of every decision. Throws
/// ContractError where a width is not among the choices.
RouterDraw certain_draw(const ModelShape& parent, const std::vector<Decision>& decisions,
                        const SubmodelSpec& spec);

}  // namespace elastic
