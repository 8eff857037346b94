// SPDX-License-Identifier: Apache-2.0
// Extraction: from the router's logits to one submodel that meets its budget (zero-shot; any budget between the trained ones).
#pragma once
#include "elastic/budget_loss.hpp"

namespace elastic {

/// The most likely choice of every decision. If its cost misses budget * full cost by more than `tolerance` (relative), the choice with the
/// highest total log-probability that meets it is searched by local changes (one or two decisions at a time). Throws InputError naming the
/// nearest reachable budgets if none does. logits: one list per decision, times logit_scale before softmax.
SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space, const Probabilities& logits, double logit_scale,
                             double budget, double tolerance, const CostConfig& config);

}  // namespace elastic
