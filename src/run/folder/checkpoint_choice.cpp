// SPDX-License-Identifier: Apache-2.0
#include "run/folder/checkpoint_choice.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/log.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/sealed_file.hpp"
#include "run/folder/deck_changes.hpp"

namespace elastic {
namespace {

/// Reads these rows and compares their hash; numbers must be finite.
template <class T>
void check_rows(const CheckpointReader& file, const TensorInfo& tensor, Range rows) {
  const index_t columns = tensor.extents.columns;
  std::vector<T> values(static_cast<std::size_t>((rows.second - rows.first) * columns));
  file.read_block(tensor.name, rows, {0, columns}, values.data());
  if constexpr (std::is_floating_point_v<T>) {
    const auto bad =
        std::find_if(values.begin(), values.end(), [](T x) { return !std::isfinite(x); });
    if (bad == values.end()) return;
    const index_t element = rows.first * columns + (bad - values.begin());
    throw NumericsError(fmt::format("{}: {} holds {} (element {} of {}), which is not finite",
                                    file.path().string(), tensor.name, *bad, element,
                                    tensor.extents.size()));
  }
}
void check_rows(const CheckpointReader& file, const TensorInfo& tensor, Range rows) {
  switch (tensor.type) {
    case StorageType::float32:
    case StorageType::bfloat16:
      return check_rows<float>(file, tensor, rows);
    case StorageType::float64:
      return check_rows<double>(file, tensor, rows);
    case StorageType::int64:
      return check_rows<index_t>(file, tensor, rows);
  }
}

/// Rows of a tensor that have a hash of their own; those of format 1 have one for all.
index_t rows_per_hash(const TensorInfo& tensor, bool sealed) {
  const auto row = static_cast<std::uint64_t>(tensor.extents.columns) * size_of(tensor.type);
  if (!sealed || row == 0) return std::max<index_t>(1, tensor.extents.rows);
  return std::max<index_t>(1, static_cast<index_t>(bytes_per_segment / row));
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
      for (const index_t step : m_steps) m_paths += m_checkpoints.find(step)->path.string() + '\n';
      m_known = read_run_identity(m_folder.id());
      if (m_steps.empty())
        throw InputError(fmt::format("{}: no checkpoint to resume from; start without --resume",
                                     m_folder.checkpoints().string()));
    });
    broadcast(m_comm, m_steps);
    broadcast(m_comm, m_paths);
  }

  std::filesystem::path path_of(index_t step) const {
    std::istringstream lines(m_paths);
    std::string path;
    for (const index_t listed : m_steps) {
      std::getline(lines, path);
      if (listed == step) break;
    }
    return path;
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
  std::string m_paths;                 // theirs, one a line
  std::optional<RunIdentity> m_known;  // on rank 0
  const std::string m_new_id = new_run_id();
};

}  // namespace

void check_tensors(const CheckpointReader& file, int rank, int size) {
  const bool sealed = is_sealed(file.path());
  index_t number = 0;
  for (const auto& tensor : file.tensors()) {
    const index_t step = rows_per_hash(tensor, sealed), end = tensor.extents.rows;
    for (index_t row = 0; row < end; row += step, ++number)
      if (number % size == rank) check_rows(file, tensor, {row, std::min(end, row + step)});
  }
}

CheckpointChoice choose_checkpoint(const Communicator& comm, const RunFolder& folder,
                                   const CheckpointFolder& checkpoints, const std::string& deck,
                                   const ResumeOptions& options) {
  return Choice(comm, folder, checkpoints, deck, options).make();
}

}  // namespace elastic
