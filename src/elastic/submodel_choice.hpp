// SPDX-License-Identifier: Apache-2.0
// Extraction: from the router's logits to one submodel that meets its budget (zero-shot;
// any budget between the trained ones).
#pragma once
#include <optional>

#include "elastic/cost_model.hpp"
#include "elastic/elastic_space.hpp"
#include "elastic/kept_choices.hpp"
#include "elastic/nesting.hpp"

namespace elastic {

/// What a submodel of a budget must meet, and how likely it is.
struct ChoiceRules {
  double logit_scale = 1;   ///< log-probabilities are log softmax(logit_scale z)
  double tolerance = 0.05;  ///< of each cost, relative to budget * the parent's
  Costs costs = Costs(1);   ///< of parameters; at most max_costs (elastic/cost_tree.hpp)
};

/// The submodel of a budget from the router's logits, one list per decision. Deterministic.
///
/// Budget 1 is the parent. Any other is the choice with the highest total log-probability, sum of
/// log softmax(logit_scale z), among those whose every cost lies within `tolerance` (relative) of
/// budget * that of the parent. So it is the most likely choice of
/// every decision where that meets the budget.
///
/// The search is exact: all combinations of the decisions that layers share (likeliest first, until
/// no better one can follow), and for each the sums of widths that the layers of a kind can reach
/// together (elastic/width_sums.hpp), joined by branch and bound over their costs
/// (elastic/cost_tree.hpp). The 28 Mamba and 28 MLP layers of a 12B model with five widths each
/// have some hundred sums; a search takes some milliseconds. Only where a kind has more than 100000
/// sums (heads and head channels both per layer, of many widths) are nearly equal ones merged. A
/// submodel is then found if one lies within the tolerance less WidthSums::error() of it, as likely
/// as the likeliest of those.
///
/// Throws InputError naming the nearest reachable budgets if nothing meets it.
SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const Probabilities& logits, double budget, const ChoiceRules& rules);
/// As choose_submodel, of the choices within `bounds`; nothing if none of them meets the budget.
std::optional<SubmodelSpec> try_submodel(const ModelShape& parent, const ElasticSpace& space,
                                         const Probabilities& logits, double budget,
                                         const ChoiceRules& rules, const NestingBounds& bounds);

/// True if every cost of a submodel is within the tolerance of its budget.
bool meets_budget(const ModelShape& parent, const SubmodelSpec& spec, double budget,
                  const ChoiceRules& rules);

}  // namespace elastic
