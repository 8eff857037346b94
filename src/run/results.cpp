// SPDX-License-Identifier: Apache-2.0
#include "run/results.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/durable_file.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {
using Json = nlohmann::ordered_json;

Json number_or_null(const std::optional<double>& x) { return x ? Json(*x) : Json(nullptr); }

Json costs_json(const BudgetResult& b) {
  Json json = Json::object();
  for (const auto& c : b.costs) {
    auto& cost = json[budget_kind_name(c.kind)] = {{"value", c.value}, {"relative", c.relative}};
    if (c.measured) {
      cost["measured"] = *c.measured;
      cost["measured_relative"] = number_or_null(c.measured_relative);
    }
  }
  return json;
}

Json budget_json(const BudgetResult& b) {
  return {{"name", b.spec.name},
          {"budget", b.spec.budget},
          {"trained", b.trained},
          {"parameters", static_cast<index_t>(b.parameters)},
          {"relative_cost", b.costs.front().relative},
          {"costs", costs_json(b)},
          {"forward_flops_per_token", b.forward_flops_per_token},
          {"widths", b.description},
          {"valid_loss", b.validation.cross_entropy},
          {"kl_to_parent", b.validation.kl},
          {"accuracy", number_or_null(b.accuracy)},
          {"valid_loss_cut_untrained", b.valid_loss_cut_untrained},
          {"accuracy_cut_untrained", number_or_null(b.accuracy_cut_untrained)},
          {"max_abs_diff_sliced_vs_prefix", b.max_abs_diff_sliced_vs_prefix},
          {"max_abs_diff_masked_vs_prefix", b.max_abs_diff_masked_vs_prefix},
          {"sliced_file_bytes", b.sliced_file_bytes}};
}

Json pair_json(const PairResult& p) {
  return {{"thinks", p.thinks},
          {"answers", p.answers},
          {"accuracy", p.accuracy},
          {"thought_tokens", p.thought_tokens},
          {"answer_tokens", p.answer_tokens},
          {"parameters_per_token", p.parameters},
          {"relative_cost_per_token", p.relative_cost},
          {"forward_flops_per_token", p.flops_per_token}};
}

/// The first step of a stage also allocates, so only the median says what a step takes.
Json stage_json(const StageResult& stage) {
  auto seconds = stage.step_seconds;
  std::sort(seconds.begin(), seconds.end());
  return {{"name", stage.name},
          {"steps", seconds.size()},
          {"median_step_seconds", seconds.empty() ? 0 : seconds[seconds.size() / 2]}};
}

}  // namespace

void write_results(const RunFolder& folder, const RunResults& results) {
  Json budgets = Json::array();
  for (const auto& b : results.budgets) budgets.push_back(budget_json(b));
  Json stages = Json::array();
  for (const auto& stage : results.stages) stages.push_back(stage_json(stage));
  Json json = {{"name", results.name},
               {"version", results.version},
               {"deck_hash", fmt::format("{:016x}", results.deck_hash)},
               {"ranks", results.ranks},
               {"steps", results.steps},
               {"tokens", results.tokens},
               {"parent",
                {{"parameters", static_cast<index_t>(results.parent_parameters)},
                 {"valid_loss", results.parent_valid_loss},
                 {"accuracy", number_or_null(results.parent_accuracy)}}},
               {"model_file_bytes", results.model_file_bytes},
               {"extra_bytes_per_submodel", results.extra_bytes_per_submodel},
               {"training_seconds", results.seconds},
               {"tokens_per_second", results.tokens_per_second},
               {"stages", stages},
               {"budgets", budgets}};
  if (!results.pairs.empty()) {
    json["switch_marker"] = results.switch_marker;
    for (const auto& pair : results.pairs) json["pairs"].push_back(pair_json(pair));
  }
  write_file_durably(folder.results(), json.dump(2) + "\n");
}

std::string describe(const RunResults& results) {
  std::string text =
      fmt::format("{:<8} {:>12} {:>7} {:>11} {:>10} {:>9} {:>14}  widths\n", "budget", "parameters",
                  "cost", "valid loss", "KL", "accuracy", "cut untrained");
  text += fmt::format("{:<8} {:>12.0f} {:>7} {:>11.4f} {:>10} {:>9} {:>14}\n", "parent",
                      results.parent_parameters, "1.000", results.parent_valid_loss, "-",
                      percent(results.parent_accuracy), "-");
  for (const auto& b : results.budgets)
    text += fmt::format("{:<8} {:>12.0f} {:>7.3f} {:>11.4f} {:>10.2e} {:>9} {:>14}  {}\n",
                        b.spec.name, b.parameters, b.costs.front().relative,
                        b.validation.cross_entropy, b.validation.kl, percent(b.accuracy),
                        percent(b.accuracy_cut_untrained), b.description);
  text.pop_back();
  return text;
}

}  // namespace elastic
