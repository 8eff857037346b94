// SPDX-License-Identifier: Apache-2.0
#include "run/seconds_table.hpp"

#include <algorithm>
#include <cmath>

#include "config/seconds_budget.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

const CostResult* measured_cost(const BudgetResult& budget) {
  for (const auto& cost : budget.costs)
    if (cost.kind == BudgetKind::seconds && cost.measured) return &cost;
  return nullptr;
}
double miss(const CostResult& cost) { return cost.value / *cost.measured - 1; }

}  // namespace

void add_seconds(ReportDocument& report, const RunConfig& config, const RunResults& results) {
  ReportTable table{"lrrrrr",
                    {"budget", "predicted", "measured", "difference",
                     "part of the parent's, predicted", "measured"}};
  for (const auto& budget : results.budgets)
    if (const auto* cost = measured_cost(budget))
      table.rows.push_back({budget.spec.name, in_seconds(cost->value), in_seconds(*cost->measured),
                            fmt::format("{:+.1f}%", 100 * miss(*cost)),
                            fmt::format("{:.3f}", cost->relative),
                            fmt::format("{:.3f}", cost->measured_relative.value_or(0))});
  if (table.rows.empty()) return;
  report.section("Time of inference");
  report.table(table);
  report.paragraph(fmt::format(
      "Per token, {}: what the measured terms predict, and what the whole submodel takes at the "
      "end of the run.",
      inference_text(config.elastic.seconds)));
}

std::string seconds_line(const RunResults& results) {
  double worst = 0;
  bool measured = false;
  for (const auto& budget : results.budgets)
    if (const auto* cost = measured_cost(budget)) {
      measured = true;
      if (std::abs(miss(*cost)) > std::abs(worst)) worst = miss(*cost);
    }
  return measured ? fmt::format(
                        "time of the budgets: predictions differ from what was measured by "
                        "at most {:+.1f}%",
                        100 * worst)
                  : std::string();
}

}  // namespace elastic
