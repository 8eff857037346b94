// SPDX-License-Identifier: Apache-2.0
#include "elastic/budget_loss.hpp"

#include <array>
#include <cmath>

namespace elastic {
namespace {

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
  const double full_cost = cost(parent, expected_widths(full_spec(parent)), config.cost);
  const auto widths = expected_widths(parent, space, decisions, pi);
  BudgetLoss loss;
  loss.relative_cost = cost(parent, widths, config.cost) / full_cost;
  loss.gradient = chain(parent, space, decisions, cost_gradient(parent, widths, config.cost));
  const double miss = loss.relative_cost / budget - 1;
  const bool at_rest = budget < 1 && std::abs(miss) < config.tolerance;
  loss.value = at_rest ? 0.0 : std::abs(miss);
  const double slope = at_rest || miss == 0 ? 0.0 : std::copysign(1 / (budget * full_cost), miss);
  for (auto& list : loss.gradient)
    for (double& g : list) g *= slope;
  if (budget == 1) add_identity_term(decisions, pi, config.full_weight, loss);
  return loss;
}

}  // namespace elastic
