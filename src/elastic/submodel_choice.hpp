// SPDX-License-Identifier: Apache-2.0
// Extraction: from the router's logits to one submodel that meets its budget (zero-shot;
// any budget between the trained ones).
#pragma once
#include "elastic/budget_loss.hpp"

namespace elastic {

/// The submodel of a budget from the router's logits, one list per decision. Deterministic.
///
/// It is the most likely choice of every decision if its cost is within `tolerance` (relative)
/// of budget * full cost. Otherwise it is the choice within it that has the highest total
/// log-probability, sum of log softmax(logit_scale z):
///
/// * In spaces of at most `exhaustive_limit` combinations it is found exactly, by trying all.
/// * In larger ones local search changes one or two decisions at a time: first towards the budget
///   at the least loss of log-probability per unit of cost, then to more probable choices within
///   it. It starts from the most likely choice, and from it with any one shared decision changed.
///
/// Throws InputError naming the nearest reachable budgets found if none meets it.
SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const Probabilities& logits, double logit_scale, double budget,
                             double tolerance, const CostConfig& config,
                             index_t exhaustive_limit = 20000);

}  // namespace elastic
