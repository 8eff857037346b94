// SPDX-License-Identifier: Apache-2.0
// Writes the tensors that several ranks hold together to the file of one of them.
#pragma once
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>

#include "comm/communicator.hpp"
#include "io/checkpoint_file.hpp"

namespace elastic {

class StateWriter {
 public:
  /// For a rank that holds and writes all there is.
  StateWriter(CheckpointWriter& file)
      : m_file(&file), m_owners(std::make_shared<Communicator>(Communicator::self())) {}
  /// For one of several ranks. `file` is null where nothing is written. `owners`: the ranks that
  /// hold equal parts of the model; what the first of them holds is written.
  StateWriter(CheckpointWriter* file, const Communicator& owners)
      : m_file(file), m_shared(true), m_owners(&owners, [](const Communicator*) {}) {}

  const Communicator& owners() const { return *m_owners; }
  /// Whether tensors of this rank go to the file.
  bool sends() const { return m_owners->is_root(); }
  /// Whether whole tensors are wanted here.
  bool writes() const { return m_file && !m_failure; }
  /// Runs work(file) on the rank that writes. If there are several ranks, it keeps its first error
  /// until finish(), since the others wait for it in collectives.
  template <class Work>
  void write(const Work& work) const {
    if (!writes()) return;
    if (!m_shared) return work(*m_file);
    try {
      work(*m_file);
    } catch (...) {
      m_failure = std::current_exception();
    }
  }
  /// Throws the error that was kept, if any.
  void finish() const {
    if (m_failure) std::rethrow_exception(m_failure);
  }

 private:
  CheckpointWriter* m_file;
  bool m_shared = false;
  std::shared_ptr<const Communicator> m_owners;
  mutable std::exception_ptr m_failure;
};

/// Collective over `world`: fill(writer) on all ranks; save(body) on rank 0 opens the file, calls
/// body(file) and completes it. `owners`: as for StateWriter. An error of rank 0 is everyone's.
using FillFile = std::function<void(const StateWriter&)>;
using SaveFile = std::function<void(const std::function<void(CheckpointWriter&)>&)>;
void write_together(const Communicator& world, const Communicator& owners, const SaveFile& save,
                    const FillFile& fill);
/// The file at `path`, which is replaced.
void write_together(const Communicator& world, const Communicator& owners,
                    const std::filesystem::path& path, const FillFile& fill);

}  // namespace elastic
