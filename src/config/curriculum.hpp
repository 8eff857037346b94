// SPDX-License-Identifier: Apache-2.0
// The plan of a run: pretraining of the parent, then the elastic stages, on one count of steps.
#pragma once
#include "config/run_config.hpp"
#include "elastic/budget_deal.hpp"
#include "elastic/training_flops.hpp"

namespace elastic {

/// A stage of the plan: what the deck says of it, and where it lies on the count of steps.
struct Stage {
  StageConfig config;  ///< of elastic stages with a probability for every budget
  bool elastic = false;
  index_t first_step = 0;  ///< steps of the plan before this stage
  index_t steps = 0;
  std::uint64_t stream = 0;           ///< of its data: no two stages see the same samples
  std::vector<bool> recomputed = {};  ///< by layer: only its input is kept; empty: none
  index_t last_step() const { return first_step + steps; }
  index_t tokens_per_step() const { return config.global_batch_size * config.seq_length; }
  /// Learning rate at step `local_step` of this stage, counted from 1.
  double learning_rate(index_t local_step) const {
    return schedule(config.learning_rate).at(local_step);
  }
  double router_learning_rate(index_t local_step) const {
    return schedule(config.router_learning_rate).at(local_step);
  }

 private:
  LrSchedule schedule(double peak) const;
};

/// All stages of a run in order.
struct Curriculum {
  std::vector<Stage> stages;
  index_t total_steps = 0;
  index_t elastic_begin = 0;  ///< steps before the first elastic stage
  index_t elastic_steps() const { return total_steps - elastic_begin; }
  /// The stage that step number `step` (counted from 1) belongs to.
  const Stage& stage_of(index_t step) const;
  /// Tokens seen after `step` steps.
  index_t tokens_after(index_t step) const;
  /// Progress of the router's schedules at elastic step s (1 ... elastic_steps): 0 at
  /// the first step, 1 at the last.
  double router_progress(index_t step) const;
};

/// The stages that the phases of a deck ask for: pretraining, then the elastic ones.
Curriculum make_curriculum(const RunConfig& config);
/// False if the learning rate of the model is 0 in every stage: its moments are then not needed.
bool changes_model(const Curriculum& curriculum);
/// How the samples of an elastic stage are dealt to budgets.
BudgetDealConfig budget_deal_of(const RunConfig& config, const Stage& stage);
/// What a stage computes for each of its models.
TrainingPasses training_passes(const RunConfig& config, const Stage& stage);
/// Samples of a full micro-batch of a stage in fast mode; in elastic stages they share the router's
/// draws.
index_t micro_batch_samples(const RunConfig& config, const Stage& stage);
/// True if a stage distils from the ranked parent as it was, or nothing does: a copy of it is kept.
bool keeps_frozen_teacher(const Curriculum& curriculum);
/// Length of the sequences on which a run is evaluated at its end: those of the last stage, or of
/// the ranking.
index_t last_seq_length(const Curriculum& curriculum, const RunConfig& config);
/// The plan as lines for people: stages, steps, tokens, lengths, the part of the
/// samples that trains each budget, rates.
std::string describe(const Curriculum& curriculum, const RunConfig& config);

}  // namespace elastic
