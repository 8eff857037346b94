// SPDX-License-Identifier: Apache-2.0
// All gradients of a step: the model's and, where the router is trained, its own and those of the
// masks between the two.
//
//   gradients.begin(state, with_router);
//   for each micro-batch of this rank:
//     for each budget:  begin_masks(); backward pass with completion(last); sum_masks();
//                       gradient of the router
//     end_micro_batch();
//   gradients.finish();
#pragma once
#include "state/train_state.hpp"
#include "train/gradient_sum.hpp"

namespace elastic {

class StepGradients {
 public:
  StepGradients(const ProcessGrid& grid, bool deterministic)
      : m_grid(grid), m_deterministic(deterministic) {}

  /// The gradients of `state` start at zero. `with_router`: those of the router and masks, too.
  template <class T>
  void begin(const TrainState<T>& state, bool with_router);
  /// What takes the gradients of each block of tokens (LayerContext::sums): deterministic mode;
  /// otherwise null.
  BlockSums* block_sums() { return m_blocks ? &*m_blocks : nullptr; }
  /// For a backward pass. `last`: it is the last one of this rank in this step, so that gradients
  /// of finished layers may travel while it goes on.
  GradientsComplete completion(bool last);

  /// Gradients of the masks start at zero.
  void begin_masks();
  /// Sums them over the ranks that hold other tokens of the micro-batch: spans, and, if
  /// `tokens_shared_out`, tokens of the residual stream in the tensor group.
  template <class T>
  void sum_masks(const SoftWidths<T>& soft_widths, bool tokens_shared_out);
  /// Nothing is added to the router's gradients any more on this micro-batch.
  void end_micro_batch();

  /// Collective, on every rank of the run, also after an error of its own: sums over ranks. False
  /// if a sum of deterministic mode left its range somewhere.
  bool finish();

 private:
  template <class T>
  void begin(std::optional<GradientSum>& sum, const ParameterStore<T>& store, int owners,
             bool tokens_shared_out);

  const ProcessGrid& m_grid;
  bool m_deterministic;
  bool m_with_router = false;  // of the step
  std::optional<GradientSum> m_model, m_router;
  // Deterministic mode only.
  std::optional<FixedPointGradients> m_masks;
  std::optional<BlockGradients> m_blocks;
};

}  // namespace elastic
