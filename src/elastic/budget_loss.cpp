// SPDX-License-Identifier: Apache-2.0
#include "elastic/budget_loss.hpp"

#include <array>
#include <cmath>

namespace elastic {
namespace {

/// What the terms of all costs share.
struct BudgetTerms {
  const ModelShape& parent;
  const ElasticSpace& space;
  const std::vector<Decision>& decisions;
  ExpectedWidths widths;
  double budget, tolerance;
};

double expectation(const Decision& decision, const std::vector<double>& pi) {
  double mean = 0;
  for (std::size_t i = 0; i < pi.size(); ++i)
    mean += pi[i] * static_cast<double>(decision.widths[i]);
  return mean;
}

/// Whether a choice of depth keeps layer number `place` of the drop order.
bool keeps(const Decision& depth, std::size_t choice, index_t place) {
  return depth.widths[choice] <= place;
}

double& width_of(ExpectedLayer& layer, Axis axis) {
  return chooses_channels(axis) ? layer.head_channels : layer.width;
}

/// d cost / d pi from d cost / d expected widths.
Probabilities chain(const ModelShape& parent, const ElasticSpace& space,
                    const std::vector<Decision>& decisions, ExpectedWidths by) {
  Probabilities gradient;
  for (const auto& decision : decisions) {
    auto& list = gradient.emplace_back(decision.widths.size(), 0.0);
    double per_unit = decision.axis == Axis::hidden ? by.hidden : 0.0;
    for (const index_t l : decision_layers(parent, decision))
      per_unit += width_of(by.layers[l], decision.axis);
    for (std::size_t i = 0; i < list.size(); ++i)
      if (decision.axis != Axis::depth) {
        list[i] = per_unit * static_cast<double>(decision.widths[i]);
      } else {
        for (index_t r = 0; r < decision.widths.back(); ++r)
          if (keeps(decision, i, r)) list[i] += by.layers[space.drop_order[r]].keep;
      }
  }
  return gradient;
}

/// | C / (b C_full) - 1 | of one cost, zero inside the tolerance of a sub-budget.
/// Returns C / C_full.
double add_cost_term(const BudgetTerms& terms, const CostConfig& cost_config, BudgetLoss& loss) {
  const auto& [parent, space, decisions, widths, budget, tolerance] = terms;
  const double full = cost(parent, full_spec(parent), cost_config),
               relative = cost(parent, widths, cost_config) / full, miss = relative / budget - 1;
  if (miss == 0 || (budget < 1 && std::abs(miss) < tolerance)) return relative;
  loss.value += std::abs(miss);
  const double slope = std::copysign(1 / (budget * full), miss);
  const auto by_pi = chain(parent, space, decisions, cost_gradient(parent, widths, cost_config));
  for (std::size_t d = 0; d < by_pi.size(); ++d)
    for (std::size_t i = 0; i < by_pi[d].size(); ++i) loss.gradient[d][i] += slope * by_pi[d][i];
  return relative;
}

/// weight * sum over axes of mean (pi - onehot_0)^2, the mean over all entries of the axis.
void add_identity_term(const std::vector<Decision>& decisions, const Probabilities& pi,
                       double weight, BudgetLoss& loss) {
  std::array<double, num_axes> entries{};
  for (const auto& d : decisions)
    entries[static_cast<std::size_t>(d.axis)] += static_cast<double>(d.widths.size());
  for (std::size_t d = 0; d < decisions.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const double factor = weight / entries[static_cast<std::size_t>(decisions[d].axis)];
      const double difference = pi[d][i] - (i == 0 ? 1.0 : 0.0);
      loss.value += factor * difference * difference;
      loss.gradient[d][i] += 2 * factor * difference;
    }
}

}  // namespace

ExpectedWidths expected_widths(const ModelShape& parent, const ElasticSpace& space,
                               const std::vector<Decision>& decisions, const Probabilities& pi) {
  ELASTIC_REQUIRE(pi.size() == decisions.size(), "{} lists for {} decisions", pi.size(),
                  decisions.size());
  ExpectedWidths widths = expected_widths(full_spec(parent));
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    const auto& decision = decisions[d];
    ELASTIC_REQUIRE(pi[d].size() == decision.widths.size(), "{} probabilities for {} choices",
                    pi[d].size(), decision.widths.size());
    const double mean = expectation(decision, pi[d]);
    if (decision.axis == Axis::hidden) widths.hidden = mean;
    for (const index_t l : decision_layers(parent, decision))
      width_of(widths.layers[l], decision.axis) = mean;
    if (decision.axis != Axis::depth) continue;
    for (index_t r = 0; r < decision.widths.back(); ++r) {
      double keep = 0;
      for (std::size_t i = 0; i < pi[d].size(); ++i)
        if (keeps(decision, i, r)) keep += pi[d][i];
      widths.layers[space.drop_order[r]].keep = keep;
    }
  }
  return widths;
}

BudgetLoss budget_loss(const ModelShape& parent, const ElasticSpace& space,
                       const std::vector<Decision>& decisions, const Probabilities& pi,
                       double budget, const BudgetLossConfig& config) {
  ELASTIC_REQUIRE(0 < budget && budget <= 1, "budget {}", budget);
  const BudgetTerms terms{parent,    space,
                          decisions, expected_widths(parent, space, decisions, pi),
                          budget,    config.tolerance};
  BudgetLoss loss;
  for (const auto& decision : decisions) loss.gradient.emplace_back(decision.widths.size(), 0.0);
  for (std::size_t k = 0; k < config.costs.size(); ++k) {
    const double relative = add_cost_term(terms, config.costs[k], loss);
    if (k == 0) loss.relative_cost = relative;
  }
  if (budget == 1) add_identity_term(decisions, pi, config.full_weight, loss);
  return loss;
}

}  // namespace elastic
