// SPDX-License-Identifier: Apache-2.0
// Operations of training on a token: what the plan states, and what the micro-batches of a step are
// shared out by.
//
// With F_b the forward operations of budget b (elastic/cost_model.hpp), of which 2 V D_b are
// logits, and F those of the parent; a backward pass counts as two forward passes:
//
//   teacher       F - 2 V D     its final states, once for all budgets of a sample
//   or            3 F           if it is trained itself
//   budget        3 F_b         one loss
//   distillation  + 2 V D       the logits of the teacher, with each budget, or once with the
//                               teacher where they are kept
//                               a teacher that is stored computes neither states nor logits
//   both losses   + 6 V D_b
//   recompute     + the forward operations of the recomputed layers
#pragma once
#include "elastic/submodel_spec.hpp"

namespace elastic {

/// What training computes for each budget.
struct TrainingPasses {
  bool distills = false, cross_entropy = true;  ///< losses
  std::vector<bool> recomputed = {};            ///< by layer: a second forward pass; empty: none
  bool trains_teacher = false;                  ///< with a cross-entropy of its own
  bool reads_teacher = false;                   ///< what it has said: no pass, no logits of it
  bool keeps_logits = false;                    ///< of the teacher, for all budgets of a sample
};

/// The layers of a submodel whose forward pass is repeated; `recomputed` by layer of the parent.
SubmodelSpec repeated_part(SubmodelSpec spec, const std::vector<bool>& recomputed);

/// Operations per token of the passes of the submodel `spec` in sequences of this length.
double training_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                                index_t seq_length, const TrainingPasses& passes);
/// Operations per token of the teacher, which has full widths, with its logits if they are kept.
/// 0 if nothing is distilled, or what the teacher says is read.
double teacher_flops_per_token(const ModelShape& parent, index_t seq_length,
                               const TrainingPasses& passes);

}  // namespace elastic
