// SPDX-License-Identifier: Apache-2.0
// The phase teach: the parent reads the training samples of a stage once, and what it says of every
// token, its likeliest words at the temperature of the distillation, is written to a file
// (io/teacher_file.hpp) for any number of runs and passes to read.
//
//   missing blocks -> micro-batches, shared out among the ranks with equal parameters
//     final states -> chunks of logits of all words -> top_words -> blocks
//
// A block depends on its sequence alone. In deterministic mode the file is the same to the byte for
// any layout of ranks.
#pragma once
#include <functional>

#include "parallel/process_grid.hpp"
#include "state/stored_teacher.hpp"
#include "train/micro_batches.hpp"

namespace elastic {

template <class T>
class TeachPass {
 public:
  TeachPass(const ProcessGrid& grid, const RunConfig& config, Arena& arena)
      : m_grid(grid),
        m_config(config),
        m_arena(arena),
        m_batches(grid.data_context, config, arena) {}

  /// Collective over all ranks. Writes what is missing of a file, and gives it its name at the end.
  /// `parent` identifies the teacher. go_on() is called by all ranks between micro-batches; what
  /// was written stays if it throws. Throws InputError for a file of another parent or deck, and
  /// data that cannot be read; NumericsError naming the sequence for what is not finite; RunError;
  /// Stopped.
  void run(const LanguageModel<T>& teacher, const StoredTeacher& wanted, const std::string& parent,
           const std::function<void()>& go_on);

 private:
  /// The blocks that are not whole, on every rank.
  std::vector<index_t> missing(const TeacherFile& file);
  std::vector<TeacherBlock> say(const LanguageModel<T>& teacher, const StoredTeacher& wanted,
                                const Batch& batch, const std::vector<index_t>& samples);

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  Arena& m_arena;
  MicroBatches m_batches;
};

}  // namespace elastic
