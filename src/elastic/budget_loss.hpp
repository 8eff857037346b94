// SPDX-License-Identifier: Apache-2.0
// The router's resource loss and its gradient by the probabilities (router loss of Nemotron
// Elastic, arXiv 2511.16664, in the form of Megatron-LM, megatron/elastification;
// doc/equations/router.md).
//
//   b < 1:  | C(E[pi]) / (b C_full) - 1 |,  zero inside `tolerance`
//   b = 1:  | C(E[pi]) / C_full - 1 | + 10 sum over axes of mean (pi - onehot_full)^2
//
// With several costs (parameters, memory, FLOPs), the first term is summed over them: every one
// must come to the part b of its full value.
//
// In training, pi is the mixture that the masks describe (SoftWidths::mixture), so that cost and
// masks are of one model.
#pragma once
#include "elastic/cost_model.hpp"
#include "elastic/elastic_space.hpp"
#include "elastic/kept_choices.hpp"

namespace elastic {

struct BudgetLossConfig {
  Costs costs = Costs(1);
  double tolerance = 0.05;  ///< dead zone of sub-budgets
  double full_weight = 10;  ///< weight of the identity term at budget 1
};
/// The loss of a budget and its gradient.
struct BudgetLoss {
  double value = 0;
  double relative_cost = 0;  ///< C / C_full of the first cost
  Probabilities gradient;    ///< d value / d pi
};
/// E[pi]: the mean width of every decision, and the probability that each layer is kept.
ExpectedWidths expected_widths(const ModelShape& parent, const ElasticSpace& space,
                               const std::vector<Decision>& decisions, const Probabilities& pi);
/// `budget`: in (0, 1], as a fraction of each of the parent's costs.
BudgetLoss budget_loss(const ModelShape& parent, const ElasticSpace& space,
                       const std::vector<Decision>& decisions, const Probabilities& pi,
                       double budget, const BudgetLossConfig& config);

}  // namespace elastic
