// SPDX-License-Identifier: Apache-2.0
// The phase teach, and whether what it wrote is there for the stages that read it.
#include "base/log.hpp"
#include "base/stop_request.hpp"
#include "comm/collectives.hpp"
#include "run/run.hpp"
#include "state/state_checkpoint.hpp"
#include "train/teach_pass.hpp"

namespace elastic {
namespace {

/// In the run's own folder: a parent that was made anew after a way back leaves files of the old.
void set_aside_others(const RunFolder& folder, const StoredTeacher& wanted,
                      const std::string& parent) {
  for (const auto& path : {wanted.path, TeacherFile::unfinished(wanted.path)}) {
    if (!std::filesystem::exists(path)) continue;
    try {
      TeacherFile::open(path, wanted.fields_of(parent), wanted.layout);
    } catch (const InputError& other) {
      log::warn("{}; it is written anew", other.what());
      set_aside(folder, path);
    }
  }
}

/// Rank 0 looks at the files; all ranks throw what it finds.
void require_files(const Communicator& comm, const std::vector<StoredTeacher>& wanted,
                   const std::string& parent) {
  all_ranks_agree(comm, [&] {
    if (comm.is_root())
      for (const StoredTeacher& file : wanted) open_stored_teacher(file, parent);
  });
}

}  // namespace

template <class T>
void Run<T>::require_stored_teachers() {
  if (!m_config.job.has(Phase::elastic) || m_config.job.has(Phase::teach)) return;
  const auto wanted = stored_teachers(m_config);
  if (wanted.empty()) return;
  std::string parent;  // not known before it is trained
  if (!m_config.job.parent.empty())
    parent = parent_identity(m_comm, m_config.job.parent, m_config.precision.compute);
  require_files(m_comm, wanted, parent);
}

template <class T>
void Run<T>::prepare_teachers() {
  const auto wanted = stored_teachers(m_config);
  if (wanted.empty()) return;
  const std::string parent = parent_identity(m_comm, m_folder.parent(), m_config.precision.compute);
  if (m_config.job.has(Phase::teach)) teach(wanted, parent);
  require_files(m_comm, wanted, parent);
}

template <class T>
void Run<T>::teach(const std::vector<StoredTeacher>& wanted, const std::string& parent_identity) {
  std::vector<index_t> missing;
  on_root([&] {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (m_config.teach.folder.empty()) set_aside_others(m_folder, wanted[i], parent_identity);
      if (!is_stored(wanted[i], parent_identity)) missing.push_back(static_cast<index_t>(i));
    }
  });
  broadcast(m_comm, missing);
  if (missing.empty()) return log::info("teach: everything is there");
  // What was ranked is kept: a run that is stopped from here on goes on with these files.
  const bool is_saved = m_choice.head.elastic && m_choice.head.step == m_state.step;
  if (!is_saved) save_checkpoint();
  std::unique_ptr<RunLock> lock;  // other runs may write to the same folder
  on_root([&] {
    if (!m_config.teach.folder.empty())
      lock = std::make_unique<RunLock>(teacher_folder(m_config), /*break_lock=*/false);
  });
  const bool is_trained = m_state.step > m_curriculum.elastic_begin;
  const LanguageModel<T>& teacher = is_trained ? parent() : *m_state.model;
  for (const index_t i : missing)
    TeachPass<T>(m_grid, m_config, m_arena)
        .run(teacher, wanted[static_cast<std::size_t>(i)], parent_identity, [&] {
          follow_save(/*wait=*/false);
          const auto [stop_asked, save_asked] = asked(/*num_saves=*/1);
          if (save_asked)
            log::info("teach: what is written so far stays; there is nothing to save");
          if (stop_asked) throw Stopped();
        });
  follow_save(/*wait=*/true);
  if (!keeps_frozen_teacher(m_curriculum)) m_state.elastic->teacher.reset();
  m_arena.clear();  // steps take other amounts
}

#define ELASTIC_INSTANTIATE(T)                     \
  template void Run<T>::require_stored_teachers(); \
  template void Run<T>::prepare_teachers();        \
  template void Run<T>::teach(const std::vector<StoredTeacher>&, const std::string&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
