// SPDX-License-Identifier: Apache-2.0
// Extraction: from the router's logits to one submodel that meets its budget (zero-shot; any budget
// between the trained ones).
#pragma once
#include "elastic/budget_loss.hpp"

namespace elastic {

/// The most likely choice of every decision. If its cost misses budget * full cost by more than
/// `tolerance` (relative), the choice with the highest total log-probability, sum of log
/// softmax(logit_scale z), that meets it: found exactly, by trying all, in spaces of at most
/// `exhaustive_limit` combinations, else by local changes of one or two decisions at a time (first
/// towards the budget at the least loss of log-probability per unit of cost, then to more probable
/// choices within it; from the most likely choice, and from it with any one shared decision
/// changed). Deterministic. Throws InputError naming the nearest reachable budgets found if none
/// meets it. logits: one list per decision.
SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const Probabilities& logits, double logit_scale, double budget,
                             double tolerance, const CostConfig& config,
                             index_t exhaustive_limit = 20000);

}  // namespace elastic
