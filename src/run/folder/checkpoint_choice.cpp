// SPDX-License-Identifier: Apache-2.0
#include "run/folder/checkpoint_choice.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/checkpoint_file.hpp"
#include "io/sealed_file.hpp"
#include "io/stored_values.hpp"
#include "run/folder/deck_changes.hpp"
#include "state/finite_numbers.hpp"

namespace elastic {
namespace {

/// Reads these rows and compares their hash; numbers must be finite.
void check_rows(const CheckpointReader& file, const TensorInfo& tensor, Range rows) {
  const index_t columns = tensor.extents.columns;
  const auto count = static_cast<std::size_t>((rows.second - rows.first) * columns);
  if (tensor.type == StorageType::int64) {
    std::vector<index_t> values(count);
    return file.read_block(tensor.name, rows, {0, columns}, values.data());
  }
  checkpoint::with_real_type(tensor.type, [&]<class T>(T*) {
    std::vector<T> values(count);
    file.read_block(tensor.name, rows, {0, columns}, values.data());
    const auto wrong = first_not_finite(tensor.type, reinterpret_cast<const char*>(values.data()),
                                        count * sizeof(T));
    if (!wrong) return;
    throw NumericsError(fmt::format("{}: {} holds {} (element {} of {}), which is not finite",
                                    file.path().string(), tensor.name, wrong->value,
                                    rows.first * columns + wrong->index, tensor.extents.size()));
  });
}

class Choice {
 public:
  Choice(const Communicator& comm, const RunFolder& folder, const CheckpointFolder& checkpoints,
         const std::string& deck, const ResumeOptions& options)
      : m_comm(comm),
        m_folder(folder),
        m_checkpoints(checkpoints),
        m_deck(deck),
        m_options(options) {}

  CheckpointChoice make() {
    list_steps();
    std::string damage;
    for (const index_t step : candidates()) {
      CheckpointChoice choice;
      choice.path = path_of(step);
      try {
        on_root([&] { read_head_of(choice, step); });
        broadcast_head(choice);
        // What is passed over says nothing of the course that goes on: its deck does not count.
        if (m_options.allow_fallback) check_contents(choice);
        check_past(choice);
        if (!m_options.allow_fallback) check_contents(choice);
      } catch (const ChangedPast& changed) {
        throw InputError(changed.what());
      } catch (const Error& error) {
        pass_over(error, step);
        damage += fmt::format("\n  {}", error.what());
        continue;
      }
      for (const index_t later : m_steps)
        if (later > step) choice.later.push_back(path_of(later));
      if (choice.head.identity.run_id.empty())
        log::warn("{}: names no run, as checkpoints of earlier versions; that of this folder is {}",
                  choice.path.string(), choice.run.id);
      return choice;
    }
    throw InputError(fmt::format("{}: none of the {} checkpoints can be read:{}",
                                 m_folder.checkpoints().string(), m_steps.size(), damage));
  }

 private:
  /// Not a fault of the checkpoint.
  struct ChangedPast : InputError {
    using InputError::InputError;
  };

  template <class Work>
  void on_root(const Work& work) {
    all_ranks_agree(m_comm, [&] {
      if (m_comm.is_root()) work();
    });
  }

  void list_steps() {
    on_root([&] {
      m_steps = m_checkpoints.steps();
      for (const index_t step : m_steps) m_paths.push_back(m_checkpoints.find(step)->path.string());
      m_known = read_run_identity(m_folder.id());
      if (m_steps.empty())
        throw InputError(fmt::format("{}: no checkpoint to resume from; start without --resume",
                                     m_folder.checkpoints().string()));
    });
    broadcast(m_comm, m_steps);
    m_paths.resize(m_steps.size());
    for (auto& path : m_paths) broadcast(m_comm, path);
  }

  std::filesystem::path path_of(index_t step) const {
    const auto at = std::find(m_steps.begin(), m_steps.end(), step);
    return m_paths[static_cast<std::size_t>(at - m_steps.begin())];
  }

  std::string all_steps() const { return fmt::format("{}", fmt::join(m_steps, ", ")); }

  std::vector<index_t> candidates() const {
    if (!m_options.from) return {m_steps.rbegin(), m_steps.rend()};
    if (std::find(m_steps.begin(), m_steps.end(), *m_options.from) == m_steps.end())
      throw InputError(fmt::format("{}: no checkpoint of step {} (--from); there are those of {}",
                                   m_folder.checkpoints().string(), *m_options.from, all_steps()));
    return {*m_options.from};
  }

  void read_head_of(CheckpointChoice& choice, index_t step) const {
    const CheckpointReader file(choice.path);
    choice.head = read_head(file);
    if (choice.head.step != step)
      throw InputError(fmt::format("{}: holds step {}; expected {} by its name",
                                   choice.path.string(), choice.head.step, step));
    if (m_known) {
      choice.run = *m_known;
      return require_same_run(choice.run, choice.head, choice.path);
    }
    choice.run.id = choice.head.identity.run_id;
    if (!choice.run.id.empty()) return;
    choice.run = {.id = m_new_id, .steps_without_id = m_steps.back()};
  }

  void broadcast_head(CheckpointChoice& choice) const {
    broadcast(m_comm, choice.head.identity.run_id);
    broadcast(m_comm, choice.head.identity.parent_hash);
    broadcast(m_comm, choice.head.deck);
    broadcast(m_comm, &choice.head.step, sizeof choice.head.step);
    broadcast(m_comm, &choice.head.elastic, sizeof choice.head.elastic);
    broadcast(m_comm, choice.run.id);
    broadcast(m_comm, &choice.run.steps_without_id, sizeof choice.run.steps_without_id);
  }

  void check_past(const CheckpointChoice& choice) const {
    const auto& head = choice.head;
    try {
      check_changes({head.deck, choice.path.string(), head.step, head.elastic}, m_deck,
                    m_options.accept_changes);
    } catch (const InputError& error) {
      throw ChangedPast(error.what());
    }
  }

  void check_contents(const CheckpointChoice& choice) const {
    all_ranks_agree(m_comm, [&] {
      check_tensors(CheckpointReader(choice.path), m_comm.rank(), m_comm.size());
    });
  }

  /// Throws what was found wrong with the checkpoint of a step unless older ones may be taken.
  void pass_over(const Error& error, index_t step) const {
    if (error.code() == ExitCode::runtime) throw;
    if (m_options.allow_fallback && !m_options.from) {
      log::warn("checkpoint of step {} is passed over: {}", step, error.what());
      return;
    }
    const std::string remedy =
        m_steps.size() == 1
            ? "It is the only checkpoint: start anew without --resume (this folder is then moved "
              "aside)."
            : fmt::format(
                  "Take the newest checkpoint that can be used with --allow-fallback (or "
                  "checkpoint/allow_fallback = true), or one of the steps {} with --from.",
                  all_steps());
    throw Error(error.code(), fmt::format("{}\n{}", error.what(), remedy));
  }

  const Communicator& m_comm;
  const RunFolder& m_folder;
  const CheckpointFolder& m_checkpoints;
  const std::string& m_deck;
  const ResumeOptions& m_options;
  std::vector<index_t> m_steps;        // with a checkpoint, ascending
  std::vector<std::string> m_paths;    // theirs
  std::optional<RunIdentity> m_known;  // on rank 0
  const std::string m_new_id = new_run_id();
};

}  // namespace

void check_tensors(const CheckpointReader& file, int rank, int size) {
  const bool sealed = is_sealed(file.path());
  index_t number = 0;
  for (const auto& tensor : file.tensors()) {
    const Placement place{tensor.name, tensor.type, tensor.extents};
    const index_t count = sealed ? place.num_blocks() : tensor.extents.size() > 0;  // hashes
    for (index_t b = 0; b < count; ++b, ++number)
      if (number % size == rank)
        check_rows(file, tensor, sealed ? place.rows_of(b) : Range(0, tensor.extents.rows));
  }
}

CheckpointChoice choose_checkpoint(const Communicator& comm, const RunFolder& folder,
                                   const CheckpointFolder& checkpoints, const std::string& deck,
                                   const ResumeOptions& options) {
  return Choice(comm, folder, checkpoints, deck, options).make();
}

}  // namespace elastic
