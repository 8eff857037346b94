// SPDX-License-Identifier: Apache-2.0
#include "run/report.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.hpp"
#include "elastic/nesting.hpp"
#include "io/durable_file.hpp"
#include "plan/ranking.hpp"
#include "plan/units.hpp"
#include "run/plots.hpp"
#include "run/progress.hpp"

namespace elastic {
namespace {

std::string code_block(const std::string& text) { return fmt::format("```\n{}\n```\n", text); }

std::string section(const char* title, const std::string& body) {
  return fmt::format("## {}\n\n{}", title, body);
}

std::string heading(const RunConfig& config, const RunResults& r) {
  std::string text = fmt::format(
      "# {}\n\nelastic.x {} on {} rank{}: {} steps, {} tokens, trained in {} ({} tokens/s) in the "
      "last job.\nDeck with all values: [resolved.in](resolved.in), hash `{:016x}`.\n",
      r.name, r.version, r.ranks, r.ranks == 1 ? "" : "s", r.steps,
      grouped(static_cast<double>(r.tokens)), clock_text(r.seconds), grouped(r.tokens_per_second),
      r.deck_hash);
  if (!config.job.parent.empty()) text += fmt::format("Parent: `{}`.\n", config.job.parent);
  if (config.job.has(Phase::rank)) text += fmt::format("Ranking: {}.\n", ranking_text(config));
  if (config.router.widths == WidthChoice::homogeneous)
    text += "Widths: fixed before training, for each budget the same part of every axis.\n";
  return text;
}

/// "0.506", or with several costs "0.506 / 0.612".
std::string relative_costs(const BudgetResult& b) {
  std::string text;
  for (const auto& c : b.costs)
    text += fmt::format("{}{:.3f}", text.empty() ? "" : " / ", c.relative);
  return text;
}

/// Whether each submodel is part of every larger one, and where not.
std::string nesting_lines(const RunConfig& config, const RunResults& r) {
  std::vector<SubmodelSpec> specs;
  for (const auto& b : r.budgets) specs.push_back(b.spec);
  const auto gaps = nesting_gaps(parent_shape(config), specs);
  if (gaps.empty()) return "Nested: every submodel is part of every larger one.\n";
  return fmt::format("Not nested, {}: {}.\n",
                     config.router.widths == WidthChoice::homogeneous
                         ? "as homogeneous widths are chosen for each budget by itself"
                         : "as nothing nested meets the budgets",
                     fmt::join(gaps, "; "));
}

std::string budget_table(const RunConfig& config, const RunResults& r) {
  std::string text =
      "## Submodels\n\n| budget | parameters | cost | validation loss | KL | accuracy | untrained "
      "cut: loss | accuracy |\n|:--|--:|--:|--:|--:|--:|--:|--:|\n";
  text +=
      fmt::format("| parent | {} | 1 | {:.4f} | - | {} | - | - |\n", grouped(r.parent_parameters),
                  r.parent_valid_loss, percent(r.parent_accuracy));
  for (const auto& b : r.budgets)
    text += fmt::format("| {}{} | {} | {} | {:.4f} | {:.2e} | {} | {:.4f} | {} |\n", b.spec.name,
                        b.trained ? "" : " *", grouped(b.parameters), relative_costs(b),
                        b.validation.cross_entropy, b.validation.kl, percent(b.accuracy),
                        b.valid_loss_cut_untrained, percent(b.accuracy_cut_untrained));
  std::vector<std::string> kinds;
  for (const auto& c : config.elastic.loss.costs) kinds.emplace_back(budget_kind_text(c.kind));
  text += fmt::format(
      "\nCost: {}, relative to the parent. Losses and KL (from the parent's distribution): nats "
      "per "
      "held-out token.\nUntrained cut: the same widths of the ranked parent before elastic "
      "training.\n",
      fmt::join(kinds, " / "));
  if (std::any_of(r.budgets.begin(), r.budgets.end(), [](const auto& b) { return !b.trained; }))
    text += config.router.widths == WidthChoice::homogeneous
                ? "\\* never trained: homogeneous widths of this cost.\n"
                : "\\* never trained: the router interpolates between trained budgets.\n";
  return text + nesting_lines(config, r);
}

std::string agreement_table(const RunResults& r) {
  std::string text =
      "## One file, many models\n\n| budget | sliced - prefix | masked - prefix | sliced file "
      "[bytes] | forward [MFLOP per token] | widths |\n|:--|--:|--:|--:|--:|:--|\n";
  for (const auto& b : r.budgets)
    text += fmt::format("| {} | {:.1e} | {:.1e} | {} | {:.3f} | {} |\n", b.spec.name,
                        b.max_abs_diff_sliced_vs_prefix, b.max_abs_diff_masked_vs_prefix,
                        grouped(static_cast<double>(b.sliced_file_bytes)),
                        b.forward_flops_per_token / 1e6, b.description);
  text +=
      "\nLargest difference of any logit when a submodel is cut into a model of its own (sliced), "
      "computed in place (prefix)\nor by zeros (masked).\n";
  if (r.model_file_bytes > 0)
    text +=
        fmt::format("`model.h5` ({} bytes) holds all of them; one more costs {} bytes.\n",
                    grouped(static_cast<double>(r.model_file_bytes)), r.extra_bytes_per_submodel);
  return text;
}

std::string pictures(const RunFolder& folder, const std::optional<std::string>& failure) {
  if (failure)
    return section("Pictures", fmt::format("Not drawn yet. Where python3 has matplotlib:\n\n{}",
                                           code_block("python3 plot.py")));
  std::vector<std::string> links;
  for (const auto& [file, title] :
       {std::pair{"accuracy.png", "Accuracy and validation loss against parameters"},
        std::pair{"losses.png", "Losses over the run"},
        std::pair{"router.png", "What the router prefers"}})
    if (std::filesystem::exists(folder.root / file))
      links.push_back(fmt::format("![{}]({})\n", title, file));
  return section("Pictures", fmt::format("{}", fmt::join(links, "\n")));
}

std::string how_to_continue(const RunFolder& folder, const RunResults& r) {
  std::string commands;
  if (!r.budgets.empty() && std::filesystem::exists(folder.model())) {
    const auto smallest = std::min_element(
        r.budgets.begin(), r.budgets.end(),
        [](const auto& a, const auto& b) { return a.spec.budget < b.spec.budget; });
    commands = fmt::format(
        "elastic.x inspect model.h5                             # what the file holds\n"
        "elastic.x slice model.h5 --budget {:<4} --out small.h5  # a submodel as a model of its "
        "own\n",
        smallest->spec.budget);
  }
  commands += "elastic.x resolved.in job/folder=again                 # the same run anew";
  return section("How to go on", fmt::format("In this folder:\n\n{}", code_block(commands)));
}
}  // namespace

void write_report(const RunFolder& folder, const RunConfig& config, const Curriculum& curriculum,
                  const RunResults& results, const std::string& region_table) {
  const auto failure = draw_plots(folder);
  if (failure)
    log::warn("no pictures: {} (later: python3 {})", *failure, (folder.root / "plot.py").string());
  std::vector<std::string> parts = {heading(config, results)};
  if (!results.budgets.empty()) {
    parts.push_back(budget_table(config, results));
    parts.push_back(agreement_table(results));
  }
  parts.push_back(section("Plan", code_block(describe(curriculum, config))));
  parts.push_back(pictures(folder, failure));
  parts.push_back(section("Where the time went", code_block(region_table)));
  parts.push_back(how_to_continue(folder, results));
  write_file_durably(folder.report(), fmt::format("{}", fmt::join(parts, "\n")));
}

}  // namespace elastic
