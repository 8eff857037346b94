// SPDX-License-Identifier: Apache-2.0
// One optimizer step (Nemotron Elastic, arXiv 2511.16664, section 4; loss: equations 14 to 17):
//
//   gradients = 0
//   pi = router(budget) with Gumbel noise, for all passes of the step
//   for each micro-batch of this replica:
//     states of the teacher, or what it has said              (pretraining: none)
//     for each budget dealt to it:
//       masks of pi                                           (pretraining: full widths)
//       forward pass, distillation loss, backward pass
//       gradient of the masks, summed up for each choice
//     the losses and sums of all these passes come to the host together: the one fence
//     gradients of the masks and of the budget loss -> kept choices -> pi -> router
//   sums over ranks; clip model and router together; AdamW at a rate of each
//
// Where the widths of budgets are fixed (<router>/widths = homogeneous), every pass of a budget
// computes exactly these, and there is no gradient of masks and router.
//
// The teacher is the frozen ranked parent, or what it has said of each token, read from files
// (train/stored_rows.hpp), or the full widths of the weights in training: these are then trained
// with alpha times their cross-entropy, and no gradient comes to them from the budgets that they
// teach.
//
// Data, budgets and router noise of a sample depend on stage, step and its number alone
// (elastic/budget_deal.hpp), so that the loss depends neither on the number of ranks nor on the
// size of micro-batches. In deterministic mode a sequence is cut into the same spans
// (parallel/spans.hpp) on any number of ranks. The ranks of a context-parallel group hold spans of
// the same sequences.
#pragma once
#include <functional>

#include "config/curriculum.hpp"
#include "optim/grad_clip.hpp"
#include "parallel/process_grid.hpp"
#include "state/train_state.hpp"
#include "train/loss_guard.hpp"
#include "train/micro_batches.hpp"
#include "train/step_deal.hpp"
#include "train/step_gradients.hpp"
#include "train/stored_rows.hpp"
#include "train/train_sums.hpp"

namespace elastic {

template <class T>
class TrainStep {
 public:
  TrainStep(const ProcessGrid& grid, const RunConfig& config, const Curriculum& curriculum,
            Arena& arena, LossGuard* guard = nullptr);
  /// Collective. Performs step number state.step + 1 and counts it. Throws on all ranks together
  /// InputError for data that one of them cannot read, and NumericsError naming step, stage and
  /// the first tensor that is not finite, or what the guard makes of it: RollBack, or a step that
  /// counts without an update. `guard` of the constructor remembers across steps and is saved by
  /// the caller; without one: as the deck says, from this step on.
  StepMetrics run(TrainState<T>& state);

 private:
  /// What this replica trains on in a step.
  struct StepData {
    SequenceRange range;               // of pretraining
    std::vector<DrawGroup> dealt;      // of elastic training
    std::vector<Batch> batches;        // on the host: its micro-batches, in order
    std::vector<TeacherBatch> taught;  // of a stored teacher, for each
  };
  StepData read(TrainState<T>& state, const Stage& stage);
  using PassName = typename ElasticState<T>::PassName;
  /// A pass of a budget over a micro-batch, and what the router has drawn for it.
  struct BudgetPass {
    PassName name;
    RouterDraw draw;
  };
  void train(TrainState<T>& state, const Stage& stage, const StepData& data, TrainSums& sums);
  /// The passes of each micro-batch.
  std::vector<std::vector<BudgetPass>> budget_passes(const TrainState<T>& state, const Stage& stage,
                                                     const StepData& data) const;
  void train_parent(TrainState<T>& state, const MicroBatch& batch, TrainSums& sums);
  /// `i`: which micro-batch of the step.
  void train_elastic(TrainState<T>& state, const Stage& stage, const StepData& data, std::size_t i,
                     const std::vector<BudgetPass>& passes, const MicroBatch& batch,
                     TrainSums& sums);
  /// Runs body(own sums) for a micro-batch and adds what it has counted.
  template <class Body>
  void count(TrainState<T>& state, MicroBatch& batch, TrainSums& sums, const Body& body);
  /// `last`: the last pass of this rank in this step.
  void train_budget(TrainState<T>& state, const MicroBatch& batch, const BudgetPass& pass,
                    const TeacherStates<T>& teacher, bool last, TrainSums& sums);
  /// Forward pass, losses and backward pass: gradients of parameters and masks. `take` gets the
  /// losses once the numbers of the micro-batch are read. `states`: where the final states go, if
  /// anywhere.
  void differentiate(const LanguageModel<T>& model, const ActiveWidths<T>& widths,
                     const MicroBatch& batch, const LossConfig& loss,
                     const TeacherStates<T>& teacher, bool last,
                     const std::function<void(const LossSums&)>& take, const View2<T>& states = {});
  TeacherStates<T> train_teacher(TrainState<T>& state, const Stage& stage, const DrawGroup& dealt,
                                 const MicroBatch& batch, TrainSums& sums);
  TeacherStates<T> teacher_states(const LanguageModel<T>& teacher, const MicroBatch& batch);
  View2<const T> teacher_logits(const LanguageModel<T>& model, const MicroBatch& batch,
                                const std::function<TeacherStates<T>()>& states);
  bool reads_teacher(const Stage& stage) const;
  BudgetLoss count_budget(const TrainState<T>& state, const MicroBatch& batch, std::size_t budget,
                          TrainSums& sums);
  /// Gradients of the masks, for the router to be differentiated once they are read.
  void reduce_masks(TrainState<T>& state, const MicroBatch& batch, const BudgetPass& pass,
                    const BudgetLoss& cost);
  void differentiate_router(TrainState<T>& state);

  bool sum_over_ranks(const Stage& stage, TrainSums& sums);
  StepMetrics update(TrainState<T>& state, const Stage& stage, TrainSums& sums, bool in_range);
  GradientClip clip_of(const TrainState<T>& state, const Stage& stage, double factor);
  std::vector<View1<const Accumulate<T>>> counted_gradients(const TrainState<T>& state,
                                                            const Stage& stage) const;
  void apply(TrainState<T>& state, const Stage& stage, const GuardedStep& place, double grad_scale);
  std::string trouble_with(const TrainState<T>& state, const Stage& stage, const GuardedStep& place,
                           const StepMetrics& metrics, bool gradients_finite);
  void require_finite_values(const TrainState<T>& state, const Stage& stage,
                             const GuardedStep& place);

  const TokenSource& source_of(const Stage& stage);
  RouterTemperature temperature(index_t step) const;

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  const Curriculum& m_curriculum;
  LossGuard m_own_guard, &m_guard;
  ExecutionSpace m_exec;
  Arena& m_arena;
  MicroBatches m_batches;
  StepDeal m_deal;
  StepGradients m_gradients;
  std::unique_ptr<TokenSource> m_source;
  std::uint64_t m_source_stream = 0;
  StoredRows m_stored{m_config};
  Readback m_readback;  ///< of a micro-batch
  std::vector<std::function<void()>> m_once_read;
  // Passes of a micro-batch whose gradients go on to the router.
  std::vector<PassName> m_router_passes;
  std::vector<Probabilities> m_router_gradients;
  std::vector<bool> m_recomputed;  ///< layers, in the stage under way
};

}  // namespace elastic
