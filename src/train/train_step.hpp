// SPDX-License-Identifier: Apache-2.0
// One optimizer step: micro-batches of this replica, sum over replicas, clipping, AdamW.
//
// Micro-batch m of a step (m = 0, 1, ... over all replicas) goes to data-parallel rank m %
// replicas. Data, budgets and router noise depend on m only, so that the loss does not depend on
// the number of ranks. The ranks of a context-parallel group hold spans of the same sequences.
//
// In deterministic mode a micro-batch is one sequence, so that its size in the deck does not matter
// either, and it is cut into equal spans (parallel/spans.hpp) on any number of ranks.
#pragma once
#include "parallel/process_grid.hpp"
#include "config/curriculum.hpp"
#include "train/gradient_sum.hpp"
#include "train/token_sources.hpp"
#include "train/train_sums.hpp"
#include "state/train_state.hpp"

namespace elastic {

/// What a step measured, over all ranks. Means over the tokens that count.
struct StepMetrics {
  double loss = 0;           ///< total: cross-entropy, or distillation + lambda * budget loss
  double gradient_norm = 0;  ///< before clipping
  double learning_rate = 0;
  double tau = 0, logit_scale = 0;  ///< elastic stages only
  /// Numbers of one budget; NaN where it was not drawn in this step, or the loss has no weight.
  struct Budget {
    double kl = 0, cross_entropy = 0, budget_loss = 0, relative_cost = 0;
  };
  std::vector<Budget> budgets;
};

class TrainStep {
 public:
  TrainStep(const ProcessGrid& grid, const RunConfig& config, const Curriculum& curriculum,
            Arena& arena);
  /// Performs step number state.step + 1 and counts it. Throws NumericsError naming step, budget
  /// and the first tensor that is not finite.
  StepMetrics run(TrainState& state);

 private:
  void begin_gradients(const TrainState& state, const Stage& stage);
  void train_micro_batches(TrainState& state, const Stage& stage, TrainSums& sums);
  /// `last`: this is the last pass of this rank in this step.
  void train_parent(TrainState& state, bool last, TrainSums& sums);
  void train_elastic(TrainState& state, const Stage& stage, index_t micro_batch, const Batch& batch,
                     bool last, TrainSums& sums);
  void train_budget(TrainState& state, std::size_t budget, std::uint64_t stream,
                    const RouterTemperature& temperature, const TeacherStates<Real>& teacher,
                    bool last, TrainSums& sums);
  LayerContext context();
  /// Sums mask gradients over the ranks that hold other tokens of the micro-batch: over spans, and,
  /// for masks that are equal on tensor-parallel ranks, over tokens of the residual stream.
  void sum_mask_gradients(const SoftWidths<Real>& soft_widths, bool tokens_shared_out);
  GradientsComplete completion(bool last);
  void reduce(const Stage& stage, TrainSums& sums);
  std::vector<View1<const Accumulate<Real>>> counted_gradients(const TrainState& state,
                                                               const Stage& stage) const;
  StepMetrics finish(TrainState& state, const Stage& stage, TrainSums& sums);
  const TokenSource& source_of(const Stage& stage);
  std::vector<std::size_t> budgets_of(const Stage& stage, index_t step, index_t micro_batch) const;

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  const Curriculum& m_curriculum;
  ExecutionSpace m_exec;
  Arena& m_arena;
  DeviceBatch m_batch;
  std::unique_ptr<TokenSource> m_source;
  std::uint64_t m_source_stream = 0;
  std::optional<GradientSum> m_model_gradients, m_router_gradients;
  std::optional<FixedPointGradients> m_mask_gradients;  // deterministic mode
  std::optional<BlockGradients> m_blocks;               // deterministic mode
  bool m_in_range = true;  // of the fixed-point sums of deterministic mode
};

}  // namespace elastic
