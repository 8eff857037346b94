// SPDX-License-Identifier: Apache-2.0
#include "plan/budgets.hpp"

#include <algorithm>
#include <cmath>

#include "config/extraction.hpp"
#include "config/seconds_budget.hpp"

namespace elastic {
namespace {
constexpr double most_listed = 200000;  // homogeneous combinations that are tried one by one
constexpr double near_enough = 0.01;
constexpr std::size_t most_shown = 4;

struct Candidate {
  std::vector<index_t> choice;
  std::vector<double> relative;  // its costs
};

double num_combinations(const std::vector<Decision>& decisions) {
  double count = 1;
  for (const auto& decision : decisions) count *= static_cast<double>(decision.widths.size());
  return count;
}

class Planner {
 public:
  Planner(const RunConfig& config, const ModelShape& parent, const ElasticSpace& space,
          bool stand_in)
      : m_stand_in(stand_in),
        m_config(config),
        m_parent(parent),
        m_space(space),
        m_homogeneous(homogeneous_space(space)),
        m_decisions(list_decisions(parent, m_homogeneous)) {}

  PlanBudgets run() {
    const auto all = list_decisions(m_parent, m_space);
    PlanBudgets plan{.costs = m_config.elastic.loss.costs,
                     .lacks_times = m_stand_in,
                     .ranges = {},
                     .decisions = all.size(),
                     .combinations = num_combinations(all),
                     .homogeneous_combinations = num_combinations(m_decisions),
                     .budgets = {}};
    std::vector<index_t> smallest;
    for (const auto& decision : m_decisions)
      smallest.push_back(static_cast<index_t>(decision.widths.size()) - 1);
    for (const auto& c : m_config.elastic.loss.costs)
      plan.ranges.push_back(
          {c.kind, cost(m_parent, full_spec(m_parent), c), cost(m_parent, spec_of(smallest), c)});
    const bool lists = m_config.router.widths == WidthChoice::learned;
    if (lists && plan.homogeneous_combinations <= most_listed) list_candidates();
    for (const Budget& budget : all_budgets(m_config)) plan.budgets.push_back(plan_budget(budget));
    return plan;
  }

 private:
  SubmodelSpec spec_of(const std::vector<index_t>& choice) const {
    return spec_of_choices(m_parent, m_homogeneous, m_decisions, choice);
  }
  std::vector<double> relative_costs(const SubmodelSpec& spec) const {
    std::vector<double> costs;
    for (const auto& c : m_config.elastic.loss.costs)
      costs.push_back(relative_cost(m_parent, spec, c));
    return costs;
  }

  void list_candidates() {
    std::vector<index_t> choice(m_decisions.size(), 0);
    do {
      m_candidates.push_back({choice, relative_costs(spec_of(choice))});
    } while (next_choice(m_decisions, choice));
  }

  PlanBudget plan_budget(const Budget& budget) {
    if (m_config.router.widths == WidthChoice::homogeneous) return fixed_budget(budget);
    const auto miss = [&](const Candidate& c) {
      double largest = 0;
      for (const double relative : c.relative)
        largest = std::max(largest, std::abs(relative / budget.fraction - 1));
      return largest;
    };
    const std::size_t shown = std::min(most_shown, m_candidates.size());
    std::partial_sort(m_candidates.begin(), m_candidates.begin() + shown, m_candidates.end(),
                      [&](const auto& a, const auto& b) {
                        return std::pair(miss(a), a.choice) < std::pair(miss(b), b.choice);
                      });
    PlanBudget plan{.name = budget.name, .budget = budget.fraction, .spec = {}, .homogeneous = {}};
    for (std::size_t i = 0; i < shown && miss(m_candidates[i]) <= near_enough; ++i)
      plan.homogeneous.push_back(spec_of(m_candidates[i].choice));
    const double tolerance = m_config.elastic.loss.tolerance;
    plan.spec = budget.fraction == 1 ? full_spec(m_parent)
                : shown > 0 && (m_stand_in || miss(m_candidates[0]) <= tolerance)
                    ? spec_of(m_candidates[0].choice)
                    : any_within(budget);
    plan.spec.name = budget.name;
    plan.spec.budget = budget.fraction;
    return plan;
  }

  /// The widths that are trained, and no others.
  PlanBudget fixed_budget(const Budget& budget) const {
    try {
      SubmodelSpec spec =
          homogeneous_submodel(m_parent, m_space, budget.fraction, choice_rules(m_config));
      spec.name = budget.name;
      return {budget.name, budget.fraction, spec, {spec}};
    } catch (const InputError& error) {
      if (!m_stand_in) throw cannot_be_met(budget, error);
      return {budget.name, budget.fraction, full_spec(m_parent), {}};
    }
  }
  static InputError cannot_be_met(const Budget& budget, const InputError& reason) {
    return InputError(
        fmt::format("<elastic>: budget {} cannot be met: {}", budget.name, reason.what()));
  }

  /// Widths within the budget that the extraction itself finds with a router without preference.
  SubmodelSpec any_within(const Budget& budget) const {
    Probabilities logits;
    for (const auto& decision : list_decisions(m_parent, m_space))
      logits.emplace_back(decision.widths.size(), 0.0);
    try {
      return choose_submodel(m_parent, m_space, logits, budget.fraction, choice_rules(m_config));
    } catch (const InputError& error) {
      if (m_stand_in) return full_spec(m_parent);
      throw cannot_be_met(budget, error);
    }
  }

  const bool m_stand_in;
  const RunConfig& m_config;
  const ModelShape& m_parent;
  const ElasticSpace& m_space;
  ElasticSpace m_homogeneous;
  std::vector<Decision> m_decisions;  // of the homogeneous space
  std::vector<Candidate> m_candidates;
};

}  // namespace

PlanBudgets plan_budgets(const RunConfig& config, const ModelShape& parent,
                         const ElasticSpace& space) {
  if (!lacks_times(config)) return Planner(config, parent, space, false).run();
  return Planner(with_known_costs(config), parent, space, true).run();
}

}  // namespace elastic
