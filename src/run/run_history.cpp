// SPDX-License-Identifier: Apache-2.0
#include "run/run_history.hpp"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/log.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {
constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> history_columns(const RunConfig& config) {
  std::vector<std::string> columns = {
      "step",          "stage", "tokens",      "learning_rate",         "loss",
      "gradient_norm", "tau",   "logit_scale", "teacher_cross_entropy", "valid_loss_parent"};
  for (std::size_t b = 0; b < config.elastic.budgets.size(); ++b)
    for (const char* what : {"kl", "cross_entropy", "budget_loss", "relative_cost", "share",
                             "valid_loss", "valid_kl", "parameters"})
      columns.push_back(fmt::format("{}_{}", what, config.elastic.budget_name(b)));
  if (config.guard.policy != GuardPolicy::stop) columns.emplace_back("guard_events");
  return columns;
}

/// softmax(scale * z)
std::vector<double> softmax(std::vector<double> z, double scale) {
  const double top = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double& x : z) sum += x = std::exp(scale * (x - top));
  for (double& x : z) x /= sum;
  return z;
}

/// Keeps a table whose columns are about to be left out under the name PATH.1, PATH.2, ...
void keep_table(const std::filesystem::path& path) {
  int number = 1;
  const auto name = [&] { return fmt::format("{}.{}", path.string(), number); };
  while (std::filesystem::exists(name())) ++number;
  std::filesystem::copy_file(path, name());
  log::warn("{}: has numbers of budgets that the deck no longer names; kept as {}", path.string(),
            name());
}

/// Gives a table these columns; see RunHistory.
void change_columns(const std::filesystem::path& path, const std::vector<std::string>& columns) {
  if (!std::filesystem::exists(path) || std::filesystem::file_size(path) == 0) return;
  const History old(path);
  if (old.columns() == columns) return;
  const auto has = [](const auto& list, const auto& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
  };
  const std::vector<std::string> nothing(old.num_rows());
  bool loses = false;
  for (const auto& column : old.columns())
    loses = loses || (!has(columns, column) && old.texts(column) != nothing);
  if (loses) keep_table(path);
  std::vector<std::vector<std::string>> cells;
  for (const auto& column : columns)
    cells.push_back(has(old.columns(), column) ? old.texts(column) : nothing);
  std::string text = fmt::format("{}\n", fmt::join(columns, ","));
  for (std::size_t i = 0; i < old.num_rows(); ++i) {
    std::vector<std::string> row;
    for (const auto& column : cells) row.push_back(column[i]);
    text += fmt::format("{}\n", fmt::join(row, ","));
  }
  write_file_durably(path, text);
}
}  // namespace

RunHistory::Table RunHistory::table(const std::filesystem::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {path};
  return {path, status.st_dev, status.st_ino};
}

void RunHistory::require_linked() const {
  for (const Table& opened : m_tables) {
    const Table now = table(opened.path);
    if (now.device == opened.device && now.inode == opened.inode) continue;
    throw RunError(fmt::format("{}: was {} while the run goes on: its rows would be lost",
                               opened.path.string(),
                               now.inode == 0 ? "removed" : "replaced by another file"));
  }
}

void RunHistory::sync() {
  for (auto* table : {m_history.get(), m_router.get()})
    if (table) table->sync();
}

RunHistory::RunHistory(const RunFolder& folder, const RunConfig& config, index_t first_step,
                       bool writes)
    : m_config(config) {
  if (!writes) return;
  truncate_history_after(folder.history(), "step", static_cast<double>(first_step));
  truncate_history_after(folder.router(), "step", static_cast<double>(first_step));
  change_columns(folder.history(), history_columns(config));
  m_history = std::make_unique<HistoryWriter>(folder.history(), history_columns(config));
  m_router = std::make_unique<HistoryWriter>(
      folder.router(), std::vector<std::string>{"step", "budget", "axis", "layer", "likely_width",
                                                "probability", "expected_width"});
  m_tables = {table(folder.history()), table(folder.router())};
}

void RunHistory::append(index_t step, const Stage& stage, index_t tokens,
                        const StepMetrics& metrics, const StepValidation& validation) {
  if (!m_history) return;
  const bool validated = !validation.budgets.empty();
  std::vector<HistoryCell> row = {
      step,
      stage.config.name,
      tokens,
      metrics.learning_rate,
      metrics.loss,
      metrics.gradient_norm,
      stage.elastic ? metrics.tau : not_measured,
      stage.elastic ? metrics.logit_scale : not_measured,
      metrics.teacher_cross_entropy,
      validated && !stage.elastic ? validation.budgets[0].cross_entropy : not_measured};
  for (std::size_t b = 0; b < m_config.elastic.budgets.size(); ++b) {
    const auto trained = stage.elastic
                             ? metrics.budgets[b]
                             : StepMetrics::Budget{not_measured, not_measured, not_measured,
                                                   not_measured, not_measured};
    for (const double x : {trained.kl, trained.cross_entropy, trained.budget_loss,
                           trained.relative_cost, trained.share})
      row.emplace_back(x);
    const bool here = validated && stage.elastic;
    row.emplace_back(here ? validation.budgets[b].cross_entropy : not_measured);
    row.emplace_back(here ? validation.budgets[b].kl : not_measured);
    row.emplace_back(here ? validation.parameters[b] : not_measured);
  }
  if (m_config.guard.policy != GuardPolicy::stop) row.emplace_back(metrics.guard_events);
  m_history->append(row);
}

/// Probabilities of all choices for trained budget number `budget`, without noise.
Probabilities RunHistory::preferences(const Router<Accumulate<Real>>& router,
                                      std::size_t budget) const {
  Probabilities pi = router.logits({.deterministic = m_config.job.deterministic},
                                   m_config.elastic.budgets[budget]);
  for (auto& list : pi) list = softmax(list, m_config.router.schedule.logit_scale_end);
  return pi;
}

void RunHistory::append_router(index_t step, const Router<Accumulate<Real>>& router,
                               const std::vector<Decision>& decisions,
                               const std::vector<RouterDraw>& fixed) {
  if (!m_router) return;
  for (std::size_t b = 0; b < m_config.elastic.budgets.size(); ++b) {
    const auto preferred = fixed.empty() ? preferences(router, b) : fixed[b].value;
    for (std::size_t d = 0; d < decisions.size(); ++d) {
      const auto& decision = decisions[d];
      const auto& pi = preferred[d];
      const auto likely =
          static_cast<std::size_t>(std::max_element(pi.begin(), pi.end()) - pi.begin());
      double expected = 0;
      for (std::size_t i = 0; i < pi.size(); ++i)
        expected += pi[i] * static_cast<double>(decision.widths[i]);
      m_router->append({step, m_config.elastic.budget_name(b),
                        std::string(axis_name(decision.axis)), decision.layer,
                        decision.widths[likely], pi[likely], expected});
    }
  }
}

}  // namespace elastic
