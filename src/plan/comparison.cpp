// SPDX-License-Identifier: Apache-2.0
#include "plan/comparison.hpp"

#include <numeric>

#include "config/curriculum.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

std::string tokens_text(double tokens) { return with_prefix(tokens, "tokens"); }

std::string against(const char* way, double tokens, double elastic_tokens,
                    const std::string& inputs) {
  return plan_line("", fmt::format("{:<24} {:>15} = {:.1f} x this run  ({})", way,
                                   tokens_text(tokens), tokens / elastic_tokens, inputs));
}

std::string deployment_line(const RunConfig& config, const PlanComparison& comparison) {
  std::string models;
  for (const double parameters : config.comparison.separate_parameters)
    models += fmt::format("{}{}", models.empty() ? "" : " + ", grouped(parameters));
  return plan_line(
      "deployed",
      fmt::format("{} for all {} models in one, {} for separate models of {} parameters "
                  "({:+.1f}%), at {} bytes per weight",
                  in_bytes(comparison.nested_bytes), config.elastic.budgets.size(),
                  in_bytes(comparison.separate_bytes), models,
                  100 * (comparison.nested_bytes / comparison.separate_bytes - 1),
                  config.elastic.cost.weight_bytes));
}

}  // namespace

PlanComparison plan_comparison(const RunConfig& config, double parent_parameters) {
  const ComparisonConfig& input = config.comparison;
  const double bytes = config.elastic.cost.weight_bytes;
  PlanComparison result;
  for (const double budget : config.elastic.budgets) result.models += budget < 1 ? 1 : 0;
  for (const auto& stage : make_curriculum(config).stages)
    if (stage.elastic)
      result.elastic_tokens += static_cast<double>(stage.steps * stage.tokens_per_step());
  const auto n = static_cast<double>(result.models);
  result.pretrain_tokens = n * input.pretrain_tokens;
  if (input.distillation_tokens > 0)
    result.compress_tokens = n * (input.exploratory_tokens + input.distillation_tokens);
  result.nested_bytes = bytes * parent_parameters;
  result.separate_bytes = bytes * std::accumulate(input.separate_parameters.begin(),
                                                  input.separate_parameters.end(), 0.0);
  return result;
}

std::string comparison_lines(const RunConfig& config, const PlanComparison& c) {
  if (c.elastic_tokens == 0) return {};
  const ComparisonConfig& input = config.comparison;
  std::string text;
  if (c.pretrain_tokens + c.compress_tokens > 0)
    text += plan_line("against",
                      fmt::format("{} smaller model{} made one by one; this run: {}", c.models,
                                  c.models == 1 ? "" : "s", tokens_text(c.elastic_tokens)));
  if (c.pretrain_tokens > 0)
    text += against("pretraining each", c.pretrain_tokens, c.elastic_tokens,
                    fmt::format("{} x {}", c.models, tokens_text(input.pretrain_tokens)));
  if (c.compress_tokens > 0)
    text += against(
        "pruning, distilling each", c.compress_tokens, c.elastic_tokens,
        fmt::format("{} x ({} to explore + {} to distil)", c.models,
                    tokens_text(input.exploratory_tokens), tokens_text(input.distillation_tokens)));
  if (c.separate_bytes > 0) text += deployment_line(config, c);
  return text;
}

}  // namespace elastic
