// SPDX-License-Identifier: Apache-2.0
// Operations and communication of a training step.
//
// Per token, with F_b the forward operations of budget b (elastic/cost_model.hpp), of which 2 V D_b
// are logits, and F those of the parent; a backward pass counts as two forward passes:
//
//   pretraining   3 F
//   elastic       F - 2 V D      once per micro-batch: the teacher
//                 3 F_b + 2 V D  per budget drawn on it: student, and logits of the teacher
//                 + 6 V D_b      if cross-entropy is mixed in
//   recompute     + F_b - 2 V D_b
//
// The mean is over the budgets' probabilities. F_b is that of the exact widths, which soft masks
// only reach at the end: at first every budget costs F.
//
// The number is an estimate (test_work.cpp states how good): backward passes of attention
// and convolution take more than two forward passes, and norms are not counted.
#pragma once
#include "config/curriculum.hpp"

namespace elastic {

/// Operations of one step of a stage.
struct StageWork {
  double flops_per_step = 0;       ///< over all ranks, mean, every budget at its own widths
  double full_flops_per_step = 0;  ///< likewise, every budget at full widths (start of the router)
};

/// Mean number of times each budget is trained on a micro-batch: `count` draws without
/// replacement with probabilities proportional to `weights`.
std::vector<double> expected_draws(const std::vector<double>& weights, index_t count);

/// Work of a stage. `specs`: one per trained budget.
StageWork stage_work(const RunConfig& config, const ModelShape& parent, const Stage& stage,
                     const std::vector<SubmodelSpec>& specs);

/// Bytes that one rank sends per step for the sum of gradients of `parameters` values, by the ring
/// algorithm: 2 (n - 1)/n of 4 bytes each.
double all_reduce_bytes(double parameters, int ranks);

}  // namespace elastic
