// SPDX-License-Identifier: Apache-2.0
// What a run saves, and its way back to what it saved.
#include "base/log.hpp"
#include "base/region.hpp"
#include "config/seconds_budget.hpp"
#include "run/run.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_times.hpp"

namespace elastic {

template <class T>
void Run<T>::save_checkpoint(const StepMetrics* pending) {
  if (!m_config.checkpoint.save) return;
  require_folder();  // or the folder would be made anew
  on_root([&] { m_history->sync(); });
  const Region region("checkpoint");
  const double start = wall_seconds();
  const index_t step = m_state.step;
  m_saver.begin({.path = m_checkpoints.path_of(step),
                 .what = fmt::format("step {}", step),
                 .fill =
                     [&](const StateWriter& writer) {
                       write_state(writer, m_state, m_deck.text);
                       write_identity(writer);
                       writer.write([&](CheckpointWriter& file) {
                         if (!m_data_files.empty()) file.text("data_files", m_data_files);
                         m_guard.write(file);
                         if (pending) write_pending_step(file, *pending);
                       });
                     },
                 .prepare = [this] { m_checkpoints.prepare(); },
                 .committed = [this, step] { m_checkpoints.rotate(step); }});
  if (!m_config.checkpoint.asynchronous) m_saver.wait();
  m_save_waited += wall_seconds() - start;
}

template <class T>
void Run<T>::follow_save(bool wait) {
  if (!m_saver.under_way() && m_save_waited == 0) return;
  const double start = wall_seconds();
  if (wait)
    m_saver.wait();
  else
    m_saver.poll();
  m_save_waited += wall_seconds() - start;
  if (m_saver.under_way()) return;
  m_wall_time.saved(m_saver.last_seconds(), m_save_waited);
  m_save_waited = 0;
}

template <class T>
void Run<T>::write_file(const std::filesystem::path& path, const FillFile& fill) {
  require_folder();
  m_saver.save({.path = path,
                .what = fmt::format("step {}", m_state.step),
                .fill =
                    [&](const StateWriter& writer) {
                      fill(writer);
                      write_identity(writer);
                    },
                .prepare = {},
                .committed = {}});
}

template <class T>
void Run<T>::write_identity(const StateWriter& writer) const {
  writer.write([&](CheckpointWriter& file) {
    write_file_identity(file, {m_identity.id, m_parent_hash});
    if (counts_seconds(m_config) && !m_times.empty()) write_times(file, m_times);
  });
}

template <class T>
void Run<T>::require_folder() {
  on_root([&] {
    m_lock->require_held();
    m_history->require_linked();
  });
}

template <class T>
void Run<T>::go_back(const RollBack& reason) {
  follow_save(/*wait=*/true);
  const LossGuard until_now = m_guard;
  try {
    m_choice = choose_checkpoint(m_comm, m_folder, m_checkpoints, m_deck.text,
                                 {.allow_fallback = true, .from = {}});
  } catch (const InputError& error) {
    throw NumericsError(fmt::format("{}; there is no way back: {}", reason.what(), error.what()));
  }
  log::warn("{}; goes back to step {} and leaves out the data of that step, {} of {} (guard/limit)",
            reason.what(), m_choice.head.step, until_now.events(), m_config.guard.limit);
  m_state = {};  // no two at a time
  m_state =
      all_ranks_agree(m_comm, [&] { return make_parent<T>(m_config, m_grid, Weights::zero); });
  restore();
  m_guard.keep_events_of(until_now);
  open_history();
}

#define ELASTIC_INSTANTIATE(T)                                                     \
  template void Run<T>::save_checkpoint(const StepMetrics*);                       \
  template void Run<T>::follow_save(bool);                                         \
  template void Run<T>::write_file(const std::filesystem::path&, const FillFile&); \
  template void Run<T>::write_identity(const StateWriter&) const;                  \
  template void Run<T>::require_folder();                                          \
  template void Run<T>::go_back(const RollBack&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
