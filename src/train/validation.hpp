// SPDX-License-Identifier: Apache-2.0
// Held-out losses and answers of a submodel.
//
// All ranks of a run take part in everything here, and throw together: InputError where data cannot
// be read, NumericsError where a result is not finite, Stopped where one of them was asked to stop.
#pragma once
#include "parallel/process_grid.hpp"
#include "train/micro_batches.hpp"

namespace elastic {

/// Held-out losses of a submodel.
struct ValidationResult {
  double cross_entropy = 0;  ///< nats per token
  double kl = 0;             ///< nats per token from the teacher; NaN without one
};

template <class T>
class Validation {
 public:
  /// The ranks with equal parameters share out whole sequences and problems.
  Validation(const ProcessGrid& grid, const RunConfig& config, Arena& arena)
      : Validation(grid.world, grid.data_context, &grid.tensor, config, arena) {}
  /// Each rank of `comm` has the whole model.
  Validation(const Communicator& comm, const RunConfig& config, Arena& arena)
      : Validation(comm, comm, nullptr, config, arena) {}
  /// Means over the deck's held-out sequences, which are shared out over the ranks.
  ValidationResult losses(const LanguageModel<T>& model, const SubmodelSpec& spec,
                          const LanguageModel<T>* teacher, index_t seq_length);
  /// Part of the deck's held-out problems that greedy generation answers exactly.
  /// Reasoning data only.
  double accuracy(const LanguageModel<T>& model, const SubmodelSpec& spec);
  bool has_problems() const {
    return m_config.data.source == SourceKind::reasoning && m_config.evaluate.problems > 0;
  }
  /// max |logits - logits'| over a few held-out tokens, of one submodel computed in two ways.
  double max_logit_difference(const LanguageModel<T>& a, const ActiveWidths<T>& a_widths,
                              const LanguageModel<T>& b, const ActiveWidths<T>& b_widths,
                              index_t seq_length);

 private:
  Validation(const Communicator& all, const Communicator& sharers, const Communicator* team,
             const RunConfig& config, Arena& arena);
  int team_size() const { return m_team == nullptr ? 1 : m_team->size(); }
  /// Throws Stopped on all ranks of the team if one was asked to stop.
  void go_on() const;
  /// This rank's share of the sums of tokens, cross-entropy and KL.
  std::vector<double> loss_sums(const LanguageModel<T>& model, const SubmodelSpec& spec,
                                const LanguageModel<T>* teacher, index_t seq_length);
  /// How many of the problems [first, end) are answered exactly.
  double right_answers(const LanguageModel<T>& model, const SubmodelSpec& spec, index_t first,
                       index_t end);
  double max_logit_difference(const MicroBatch& batch, const LanguageModel<T>& a,
                              const ActiveWidths<T>& a_widths, const LanguageModel<T>& b,
                              const ActiveWidths<T>& b_widths);

  const Communicator& m_all;      // of the run
  const Communicator& m_sharers;  // of sequences and problems
  const Communicator* m_team;     // that shares the model; null: this rank alone
  const RunConfig& m_config;
  Arena& m_arena;
  ExecutionSpace m_exec;
  std::unique_ptr<TokenSource> m_source;
  MicroBatches m_batches;
};

}  // namespace elastic
