// SPDX-License-Identifier: Apache-2.0
#include "run/pending_step.hpp"

#include <charconv>
#include <sstream>

namespace elastic {
namespace {
const char* const name = "pending_step";

/// visit(number) for all numbers in the order of the text.
template <class Metrics, class Visit>
void for_each_number(Metrics& metrics, const Visit& visit) {
  for (auto* number : {&metrics.loss, &metrics.gradient_norm, &metrics.learning_rate, &metrics.tau,
                       &metrics.logit_scale, &metrics.teacher_cross_entropy, &metrics.guard_events})
    visit(*number);
  for (auto& budget : metrics.budgets)
    for (auto* number : {&budget.kl, &budget.cross_entropy, &budget.budget_loss,
                         &budget.relative_cost, &budget.share})
      visit(*number);
}
}  // namespace

std::string step_to_text(const StepMetrics& metrics) {
  std::string text = fmt::format("{}", metrics.budgets.size());
  for_each_number(metrics, [&](double number) { text += fmt::format(" {}", number); });
  return text;
}

StepMetrics step_from_text(const std::string& text, const std::string& file) {
  std::istringstream words(text);
  const auto next = [&]<class N>(N) {
    std::string word;
    words >> word;
    N number = 0;
    const char* end = word.data() + word.size();
    const auto [last, error] = std::from_chars(word.data(), end, number);
    if (word.empty() || last != end || error != std::errc())
      throw InputError(fmt::format("{}: text/{}: '{}' is no number", file, name, word));
    return number;
  };
  const index_t budgets = next(index_t());
  if (budgets < 0 || budgets > static_cast<index_t>(text.size()))
    throw InputError(fmt::format("{}: text/{}: numbers of {} budgets in {} characters", file, name,
                                 budgets, text.size()));
  StepMetrics metrics{.budgets = {}};
  metrics.budgets.resize(static_cast<std::size_t>(budgets));
  for_each_number(metrics, [&](double& number) { number = next(double()); });
  return metrics;
}

void write_pending_step(CheckpointWriter& file, const StepMetrics& metrics) {
  file.text(name, step_to_text(metrics));
}

std::optional<StepMetrics> read_pending_step(const CheckpointReader& file) {
  if (!file.has_text(name)) return std::nullopt;
  return step_from_text(file.text(name), file.path().string());
}

}  // namespace elastic
