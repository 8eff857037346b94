// SPDX-License-Identifier: Apache-2.0
// Where a state goes: texts, attributes and small vectors to the file of the rank that opened it,
// tensors into the file at once, or onto a list from which all ranks write together
// (state/checkpoint_saver).
#pragma once
#include <exception>
#include <functional>

#include "io/checkpoint_file.hpp"
#include "state/state_tensors.hpp"

namespace elastic {

class StateWriter {
 public:
  /// For a rank that holds all there is: tensors are written at once.
  StateWriter(CheckpointWriter& file) : m_file(&file) {}
  /// For one of several ranks: tensors go onto `list`. `file` is null where none is open.
  StateWriter(CheckpointWriter* file, const Sharers& sharers, StateTensors& list)
      : m_file(file), m_list(&list), m_sharers(sharers) {}

  const Sharers& sharers() const { return m_sharers; }
  /// Runs work(file) on the rank that opened the file. If there are several ranks, it keeps its
  /// first error until finish(), since the others wait for it in collectives.
  template <class Work>
  void write(const Work& work) const {
    if (!m_file || m_failure) return;
    if (!m_list) return work(*m_file);
    try {
      work(*m_file);
    } catch (...) {
      m_failure = std::current_exception();
    }
  }
  /// Writes tensors, or lists them on every rank: what they refer to must then stay as it is until
  /// all ranks have fetched them.
  void tensors(StateTensors more) const;
  /// Throws the error that was kept, if any.
  void finish() const {
    if (m_failure) std::rethrow_exception(m_failure);
  }

 private:
  CheckpointWriter* m_file;
  StateTensors* m_list = nullptr;
  Sharers m_sharers;
  mutable std::exception_ptr m_failure;
};

/// Fills a file: called on all ranks.
using FillFile = std::function<void(const StateWriter&)>;

}  // namespace elastic
