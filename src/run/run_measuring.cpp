// SPDX-License-Identifier: Apache-2.0
// Budgets in measured seconds: where the times come from, and what submodels really take.
#include "base/log.hpp"
#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "config/seconds_budget.hpp"
#include "config/times_text.hpp"
#include "io/durable_file.hpp"
#include "run/measure_times.hpp"
#include "run/run.hpp"
#include "state/stored_times.hpp"

namespace elastic {

template <class T>
void Run<T>::give_measured_times(std::string text, const std::string& file) {
  broadcast(m_comm, text);
  if (text.empty()) return;
  all_ranks_agree(m_comm, [&] { give_times(m_deck.config, text, file); });
  m_times = text;
}

template <class T>
void Run<T>::take_given_times() {
  std::string text;
  on_root([&] { text = read_given_times(m_config); });
  give_measured_times(text, m_config.elastic.seconds.from);
}

template <class T>
void Run<T>::take_stored_times(const StateReader& reader) {
  std::string text;
  reader.agree([&] {
    if (m_comm.is_root() && counts_seconds(m_config)) text = stored_times(reader.file());
  });
  give_measured_times(text, reader.file().path().string());
  if (m_times.empty()) take_given_times();
}

template <class T>
void Run<T>::measure_phase() {
  if (!m_config.job.has(Phase::measure) || !m_times.empty()) return;
  const Region region("measure");
  std::string text;
  on_root([&] {  // of a job before this one, which saved no checkpoint after it
    if (!std::filesystem::exists(m_folder.seconds())) return;
    text = read_file(m_folder.seconds());
    try {
      check_times(m_config, times_from_json(text), m_folder.seconds().string());
    } catch (const InputError& error) {
      log::warn("{}", error.what());
      text.clear();
    }
  });
  broadcast(m_comm, text);
  if (text.empty()) {
    log::info("measuring the time of {}", inference_text(m_config.elastic.seconds));
    const MeasuredTimes times = measure_times(m_comm, m_config, *m_state.model, m_arena);
    log::info("{}", describe(times));
    text = to_json(times);
    require_folder();
    on_root([&] { write_file_durably(m_folder.seconds(), text); });
  }
  give_measured_times(text, m_folder.seconds().string());
}

template <class T>
void Run<T>::measure_budgets() {
  if (!counts_seconds(m_config) || m_results.budgets.empty()) return;
  const Region region("measure");
  std::vector<SubmodelSpec> specs = {full_spec(m_state.model->shape())};
  for (const auto& budget : m_results.budgets) specs.push_back(budget.spec);
  const auto seconds = measure_submodels(m_comm, m_config, *m_state.model, m_arena, specs);
  for (std::size_t i = 0; i < m_results.budgets.size(); ++i)
    for (auto& cost : m_results.budgets[i].costs)
      if (cost.kind == BudgetKind::seconds) {
        cost.measured = seconds[i + 1];
        cost.measured_relative = seconds[i + 1] / seconds[0];
      }
}

#define ELASTIC_INSTANTIATE(T)                                                \
  template void Run<T>::give_measured_times(std::string, const std::string&); \
  template void Run<T>::take_given_times();                                   \
  template void Run<T>::take_stored_times(const StateReader&);                \
  template void Run<T>::measure_phase();                                      \
  template void Run<T>::measure_budgets();
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
