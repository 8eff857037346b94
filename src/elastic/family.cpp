// SPDX-License-Identifier: Apache-2.0
#include "elastic/family.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace elastic {
namespace {

/// The neighbours of a budget: the smallest larger and the largest smaller submodel.
NestingBounds neighbours(const std::vector<SubmodelSpec>& family, double budget) {
  NestingBounds bounds;
  for (const auto& spec : family) {
    if (spec.budget > budget && (!bounds.outer || spec.budget < bounds.outer->budget))
      bounds.outer = &spec;
    if (spec.budget < budget && (!bounds.inner || spec.budget > bounds.inner->budget))
      bounds.inner = &spec;
  }
  return bounds;
}

/// Largest over smallest kept part of an axis, over the axes that may shrink.
double unevenness(const std::vector<Decision>& decisions, const std::vector<index_t>& choice) {
  double least = 1, most = 0;
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    if (decisions[d].axis == Axis::depth) continue;
    const auto& widths = decisions[d].widths;
    const double part =
        static_cast<double>(widths[choice[d]]) / static_cast<double>(widths.front());
    least = std::min(least, part);
    most = std::max(most, part);
  }
  return most == 0 ? 1 : most / least;
}

/// What a submodel keeps where a decision decides; of depth, the number of dropped layers.
index_t kept_width(const ModelShape& parent, const Decision& decision, const SubmodelSpec& spec) {
  if (decision.axis == Axis::hidden) return spec.hidden_size;
  if (decision.axis == Axis::depth)
    return std::count_if(spec.layers.begin(), spec.layers.end(),
                         [](const LayerWidths& layer) { return !layer.keep; });
  const LayerWidths& layer = spec.layers[decision_layers(parent, decision).front()];
  return chooses_channels(decision.axis) ? layer.head_channels : layer.width;
}

}  // namespace

SubmodelSpec choose_member(const ModelShape& parent, const ElasticSpace& space,
                           const Probabilities& logits, double budget,
                           const std::vector<SubmodelSpec>& family, const ChoiceRules& rules) {
  const NestingBounds both = neighbours(family, budget);
  for (const NestingBounds& bounds : {both, NestingBounds{both.outer, nullptr}})
    if (bounds.outer || bounds.inner)
      if (const auto spec = try_submodel(parent, space, logits, budget, rules, bounds))
        return *spec;
  return choose_submodel(parent, space, logits, budget, rules);
}

std::vector<SubmodelSpec> choose_family(const ModelShape& parent, const ElasticSpace& space,
                                        const LogitsOf& logits, const std::vector<double>& trained,
                                        const std::vector<double>& extra,
                                        const ChoiceRules& rules) {
  std::vector<SubmodelSpec> family, result(trained.size() + extra.size());
  const auto add = [&](const std::vector<double>& budgets, std::size_t first) {
    std::vector<std::size_t> order(budgets.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return budgets[a] > budgets[b]; });
    for (const std::size_t i : order) {
      result[first + i] =
          choose_member(parent, space, logits(budgets[i]), budgets[i], family, rules);
      family.push_back(result[first + i]);
    }
  };
  add(trained, 0);
  add(extra, trained.size());
  return result;
}

ElasticSpace homogeneous_space(ElasticSpace space) {
  for (const Axis axis : all_axes) space.axis(axis).per_layer = false;
  return space;
}

SubmodelSpec homogeneous_submodel(const ModelShape& parent, const ElasticSpace& space,
                                  double budget, const ChoiceRules& rules) {
  const ElasticSpace alike = homogeneous_space(space);
  const auto decisions = list_decisions(parent, alike);
  std::optional<SubmodelSpec> best;
  std::tuple<index_t, double, double> least;  // dropped layers, unevenness, miss
  std::vector<index_t> choice(decisions.size(), 0);
  do {
    SubmodelSpec spec = spec_of_choices(parent, alike, decisions, choice);
    if (!meets_budget(parent, spec, budget, rules)) continue;
    const auto dropped = std::count_if(spec.layers.begin(), spec.layers.end(),
                                       [](const auto& layer) { return !layer.keep; });
    const double miss = std::abs(relative_cost(parent, spec, rules.costs.front()) / budget - 1);
    const std::tuple candidate(static_cast<index_t>(dropped), unevenness(decisions, choice), miss);
    if (best && !(candidate < least)) continue;
    least = candidate;
    best = std::move(spec);
  } while (next_choice(decisions, choice));
  if (!best)
    throw InputError(fmt::format("no homogeneous widths cost {} of the parent within {}%", budget,
                                 100 * rules.tolerance));
  best->name = fmt::format("{}", budget);
  best->budget = budget;
  return *best;
}

RouterDraw certain_draw(const ModelShape& parent, const std::vector<Decision>& decisions,
                        const SubmodelSpec& spec) {
  Probabilities pi;
  for (const auto& decision : decisions) {
    const index_t kept = kept_width(parent, decision, spec);
    auto& list = pi.emplace_back();
    for (const index_t width : decision.widths) list.push_back(width == kept ? 1.0 : 0.0);
    ELASTIC_REQUIRE(std::count(list.begin(), list.end(), 1.0) == 1,
                    "{} {} is not among the choices of layer {}", axis_name(decision.axis), kept,
                    decision.layer);
  }
  return {pi, pi};
}

}  // namespace elastic
