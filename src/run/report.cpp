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
#include "run/seconds_table.hpp"
#include "run/report_document.hpp"

namespace elastic {
namespace {

std::string heading(const RunConfig& config, const RunResults& r) {
  std::string text = fmt::format(
      "elastic.x {} on {} rank{}: {} steps, {} tokens, trained in {} ({} tokens/s) in the "
      "last job.\nDeck with all values: [resolved.in](resolved.in), hash `{:016x}`.",
      r.version, r.ranks, r.ranks == 1 ? "" : "s", r.steps, grouped(static_cast<double>(r.tokens)),
      clock_text(r.seconds), grouped(r.tokens_per_second), r.deck_hash);
  if (!config.job.parent.empty()) text += fmt::format("\nParent: `{}`.", config.job.parent);
  if (config.job.has(Phase::rank)) text += fmt::format("\nRanking: {}.", ranking_text(config));
  if (config.router.widths == WidthChoice::homogeneous)
    text += "\nWidths: fixed before training, for each budget the same part of every axis.";
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
  if (gaps.empty()) return "Nested: every submodel is part of every larger one.";
  return fmt::format("Not nested, {}: {}.",
                     config.router.widths == WidthChoice::homogeneous
                         ? "as homogeneous widths are chosen for each budget by itself"
                         : "as nothing nested meets the budgets",
                     fmt::join(gaps, "; "));
}

/// What the numbers of the table of budgets mean.
std::string budget_notes(const RunConfig& config, const RunResults& r) {
  std::vector<std::string> kinds;
  for (const auto& c : config.elastic.loss.costs) kinds.emplace_back(budget_kind_text(c.kind));
  std::string text = fmt::format(
      "Cost: {}, relative to the parent. Losses and KL (from the parent's distribution): nats per "
      "held-out token.\nUntrained cut: the same widths of the ranked parent before elastic "
      "training.",
      fmt::join(kinds, " / "));
  if (std::any_of(r.budgets.begin(), r.budgets.end(), [](const auto& b) { return !b.trained; }))
    text += config.router.widths == WidthChoice::homogeneous
                ? "\n* never trained: homogeneous widths of this cost."
                : "\n* never trained: the router interpolates between trained budgets.";
  return text + "\n" + nesting_lines(config, r);
}

void add_budgets(ReportDocument& report, const RunConfig& config, const RunResults& r) {
  ReportTable table{"lrrrrrrr",
                    {"budget", "parameters", "cost", "validation loss", "KL", "accuracy",
                     "untrained cut: loss", "accuracy"}};
  table.rows.push_back({"parent", grouped(r.parent_parameters), "1",
                        fmt::format("{:.4f}", r.parent_valid_loss), "-", percent(r.parent_accuracy),
                        "-", "-"});
  for (const auto& b : r.budgets)
    table.rows.push_back({b.spec.name + (b.trained ? "" : " *"), grouped(b.parameters),
                          relative_costs(b), fmt::format("{:.4f}", b.validation.cross_entropy),
                          fmt::format("{:.2e}", b.validation.kl), percent(b.accuracy),
                          fmt::format("{:.4f}", b.valid_loss_cut_untrained),
                          percent(b.accuracy_cut_untrained)});
  report.section("Submodels");
  report.table(table);
  report.paragraph(budget_notes(config, r));
}

void add_agreement(ReportDocument& report, const RunResults& r) {
  ReportTable table{"lrrrrl",
                    {"budget", "sliced - prefix", "masked - prefix", "sliced file [bytes]",
                     "forward [MFLOP per token]", "widths"}};
  for (const auto& b : r.budgets)
    table.rows.push_back({b.spec.name, fmt::format("{:.1e}", b.max_abs_diff_sliced_vs_prefix),
                          fmt::format("{:.1e}", b.max_abs_diff_masked_vs_prefix),
                          grouped(static_cast<double>(b.sliced_file_bytes)),
                          fmt::format("{:.3f}", b.forward_flops_per_token / 1e6), b.description});
  report.section("One file, many models");
  report.table(table);
  std::string notes =
      "Largest difference of any logit when a submodel is cut into a model of its own (sliced), "
      "computed in place (prefix)\nor by zeros (masked).";
  if (r.model_file_bytes > 0)
    notes +=
        fmt::format("\n`model.h5` ({} bytes) holds all of them; one more costs {} bytes.",
                    grouped(static_cast<double>(r.model_file_bytes)), r.extra_bytes_per_submodel);
  report.paragraph(notes);
}

void add_pairs(ReportDocument& report, const RunResults& r) {
  ReportTable table{"llrrrrrr",
                    {"thinks", "answers", "accuracy", "parameters", "cost", "MFLOP per token",
                     "tokens of thought", "of the answer"}};
  for (const auto& p : r.pairs)
    table.rows.push_back(
        {p.thinks, p.answers, percent(p.accuracy), grouped(p.parameters),
         fmt::format("{:.3f}", p.relative_cost), fmt::format("{:.3f}", p.flops_per_token / 1e6),
         fmt::format("{:.1f}", p.thought_tokens), fmt::format("{:.1f}", p.answer_tokens)});
  report.section("Think with one budget, answer with another");
  report.table(table);
  report.paragraph(fmt::format(
      "One budget writes up to the first marker `{}`, another reads the text so far anew and goes "
      "on: what each would do alone on that\ntext. A text without a marker is the first one's. "
      "Parameters, cost (relative to the parent) and FLOPs: means per generated token, the "
      "reading\nof text that is there left out. Tokens: means per problem, end tokens included.",
      r.switch_marker));
}

void add_pictures(ReportDocument& report, const RunFolder& folder,
                  const std::optional<std::string>& failure) {
  report.section("Pictures");
  if (failure) {
    report.paragraph("Not drawn yet. Where python3 has matplotlib:");
    return report.code("python3 plot.py");
  }
  for (const auto& [file, title] :
       {std::pair{"accuracy.png", "Accuracy and validation loss against parameters"},
        std::pair{"switches.png", "Accuracy of pairs of budgets against cost"},
        std::pair{"losses.png", "Losses over the run"},
        std::pair{"router.png", "What the router prefers"}})
    if (std::filesystem::exists(folder.root / file)) report.picture(title, file);
}

void add_how_to_continue(ReportDocument& report, const RunFolder& folder, const RunResults& r) {
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
  report.section("How to go on");
  report.paragraph("In this folder:");
  report.code(commands);
}
}  // namespace

void write_report(const RunFolder& folder, const RunConfig& config, const Curriculum& curriculum,
                  const RunResults& results, const std::string& region_table) {
  const auto failure = draw_plots(folder);
  if (failure)
    log::warn("no pictures: {} (later: python3 {})", *failure, (folder.root / "plot.py").string());
  ReportDocument report(results.name);
  report.paragraph(heading(config, results));
  if (!results.budgets.empty()) {
    add_budgets(report, config, results);
    add_agreement(report, results);
    add_seconds(report, config, results);
  }
  if (!results.pairs.empty()) add_pairs(report, results);
  report.section("Plan");
  report.code(describe(curriculum, config));
  add_pictures(report, folder, failure);
  report.section("Where the time went");
  report.code(region_table);
  add_how_to_continue(report, folder, results);
  if (std::filesystem::exists(folder.deck())) {
    report.attachment("resolved.in, the deck with all values", read_file(folder.deck()));
  }
  write_file_durably(folder.report(), report.markdown());
  write_file_durably(folder.report_html(), report.html(folder.root));
}

}  // namespace elastic
