// SPDX-License-Identifier: Apache-2.0
// Which budgets an elastic space can meet, and with which widths.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// One budget of the deck and widths that meet it.
struct PlanBudget {
  std::string name;
  double budget = 1;
  SubmodelSpec spec;  ///< widths that meet it: the nearest homogeneous ones, else any
  /// Homogeneous widths (equal in all layers of a kind) within 1% of the budget,
  /// nearest first, at most four. With <router>/widths = homogeneous those of `spec` alone: they
  /// are what is trained.
  std::vector<SubmodelSpec> homogeneous;
};
/// One kind of cost: of the parent, and of all smallest widths.
struct CostRange {
  BudgetKind kind = BudgetKind::parameters;
  double full = 0, least = 0;
};
/// What an elastic space can meet.
struct PlanBudgets {
  /// What the lines below count: FLOPs stand in for seconds that are not measured yet.
  Costs costs;
  bool lacks_times = false;
  std::vector<CostRange> ranges;  ///< one for each kind that the budgets count
  std::size_t decisions = 0;
  double combinations = 1;              ///< of all decisions
  double homogeneous_combinations = 1;  ///< of one width per axis; listed up to 200000
  std::vector<PlanBudget> budgets;      ///< those of the deck, then <evaluate>/extra_budgets
};

/// Costs are monotone in every width, so the extremes are those of all smallest and all full
/// widths. The order in which layers are dropped is only known after the rank phase; until then the
/// last are dropped first. Where FLOPs stand in for seconds, the widths are the nearest ones.
/// Throws InputError if no widths meet a budget within <elastic>/tolerance.
PlanBudgets plan_budgets(const RunConfig& config, const ModelShape& parent,
                         const ElasticSpace& space);

}  // namespace elastic
