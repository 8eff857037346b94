// SPDX-License-Identifier: Apache-2.0
// Operations and communication of a training step.
//
// Operations per token are those of elastic/training_flops.hpp: of the teacher once, of each budget
// on the part of the samples that it is dealt (elastic/budget_deal.hpp). Budgets count with their
// exact widths, which soft masks only reach at the end: at first every budget costs as the parent.
//
// The number is an estimate (test_work.cpp states how good): backward passes of attention
// and convolution take more than two forward passes, and norms are not counted.
#pragma once
#include "config/curriculum.hpp"

namespace elastic {

/// Operations of one step of a stage.
struct StageWork {
  double flops_per_step = 0;       ///< over all ranks, every budget at its own widths
  double full_flops_per_step = 0;  ///< likewise at the first step of the run (narrows())
};

/// Whether budgets begin at full widths and come to their own as the router learns, rather than
/// have fixed ones from the first step on.
bool narrows(const RunConfig& config);

/// Work of a stage. `specs`: one per trained budget.
StageWork stage_work(const RunConfig& config, const ModelShape& parent, const Stage& stage,
                     const std::vector<SubmodelSpec>& specs);

/// Bytes that one rank sends per step for the sum of gradients of `parameters` values, by the ring
/// algorithm: 2 (n - 1)/n of 4 bytes each.
double all_reduce_bytes(double parameters, int ranks, double value_bytes);

}  // namespace elastic
