// SPDX-License-Identifier: Apache-2.0
// Held-out losses and answers of a submodel.
#pragma once
#include "comm/communicator.hpp"
#include "train/micro_batches.hpp"

namespace elastic {

/// Held-out losses of a submodel.
struct ValidationResult {
  double cross_entropy = 0;  ///< nats per token
  double kl = 0;             ///< nats per token from the teacher; 0 without one
};

template <class T>
class Validation {
 public:
  /// `comm`: the ranks with equal parameters, which share out whole sequences and problems.
  Validation(const Communicator& comm, const RunConfig& config, Arena& arena);
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
  /// This rank's share of the sums of tokens, cross-entropy and KL.
  std::vector<double> loss_sums(const LanguageModel<T>& model, const SubmodelSpec& spec,
                                const LanguageModel<T>* teacher, index_t seq_length);
  /// This rank's share of the problems that are answered exactly.
  double right_answers(const LanguageModel<T>& model, const SubmodelSpec& spec);

  const Communicator& m_comm;
  const RunConfig& m_config;
  Arena& m_arena;
  ExecutionSpace m_exec;
  std::unique_ptr<TokenSource> m_source;
  MicroBatches m_batches;
};

}  // namespace elastic
