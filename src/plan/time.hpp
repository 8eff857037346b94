// SPDX-License-Identifier: Apache-2.0
// Predicted time of a step and of a run on a machine (machine.hpp), in fast mode.
//
// A replica computes its micro-batches of a step one after the other: in pretraining
// ceil(micro-batches / replicas) of them; in elastic stages those that it gets when they are shared
// out by their work (parallel/share_out.hpp), of which the plan takes the mean. The work is that of
// plan/passes.hpp, the messages those of plan/messages.hpp:
//
//   pass        products / rate + attention / rate + scan / rate + bytes / kernel bandwidth
//   messages    sums and gathers inside the replica, which nothing hides
//   gradients   G - overlap * min(G (1 - V D/P), last backward pass) + adding / memory bandwidth
//               G: travelling time of all P gradients; those of the embeddings come last;
//               nothing overlaps with sequence parallelism
//   update      (4P zeroed + 4P/R for the norm + 28 P/R for AdamW) / memory bandwidth
//   values      all-gather of 4P bytes
//   waiting     time of the busiest replica minus the mean
//
// Submodels run at the widths of the plan (as at the end of training), or at full widths (where
// the router starts). Not counted: data, router network, imbalance of machines, slicing.
#pragma once
#include "plan/messages.hpp"
#include "plan/passes.hpp"
#include "plan/work.hpp"

namespace elastic {

/// Seconds of one step by what they are spent on.
struct StepTime {
  double teacher = 0, forward = 0, loss = 0, backward = 0;  ///< computing
  double messages = 0;                                      ///< inside a replica
  double waiting = 0;                                       ///< for the busiest replica
  double gradients = 0, update = 0, values = 0;
  ReplicaTraffic sent;  ///< what `messages` is the time of
  double computing() const { return teacher + forward + loss + backward; }
  double total() const { return computing() + messages + waiting + gradients + update + values; }
};

/// What a run trains besides its parent.
struct ElasticPlan {
  std::vector<SubmodelSpec> specs;  ///< one per trained budget; empty: no elastic stages
  index_t router_parameters = 0;    ///< that are trained
  std::vector<index_t> choices;     ///< widths of each decision of a router in training
};

/// Predicts a step. `specs`: the widths that the budgets run at, one each.
StepTime step_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                   const Stage& stage, const ElasticPlan& elastic,
                   const std::vector<SubmodelSpec>& specs, const Layout& layout);

/// Seconds of one validation of the parent or of all budgets.
double validation_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                       const Stage& stage, const ElasticPlan& elastic, const Layout& layout);

/// Seconds of the phase teach: the parent's passes and logits on all samples that it stores.
double teaching_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                     const Layout& layout);

/// Seconds of the rank phase; 0 without one. Whole sequences are shared out over all who hold equal
/// parameters.
double ranking_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                    const Layout& layout);

/// The predicted times as lines of the plan.
/// Throws InputError if the machine lacks what the layout needs.
std::string time_lines(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                       const ElasticPlan& elastic, const Layout& layout, double checkpoint_bytes);

}  // namespace elastic
