// SPDX-License-Identifier: Apache-2.0
// Bytes per rank of a training step, and bytes of the files, from the shape alone.
//
// fp32 everywhere. P: parameters of the model on this rank, P_r: parameters of the router,
// R: owners (ranks that hold the same parameters).
//
//   weights       4P
//   gradients     4P
//   moments       8P/R            none if no stage changes the model
//   teacher       4P            none if all stages train their teacher, or read what it has said
//   router        8 P_r + 8 P_r/R
//   sums          buckets of gradients that travel (R > 1), 8P in fixed point (deterministic)
//   snapshot      a rank's share of the largest file that the run saves (plan/saves.hpp)
//
// Working memory of a step on T = B*L tokens at full widths (where the router starts),
// in elements per token. All widths are those of this rank. One layer keeps its input, D, and from
// its forward to its backward pass
//
//   all layers    2D + 1
//   -             2F
//   *             2AC + 2RC + A                           3AC instead of 2AC with a mask
//   M             5E + 4GN + 3H + G + E N ceil(L/Q)/L
//
// Its backward pass adds, each with the workspaces of its kernels,
//
//   all layers    2D
//   -             F
//   *             2AC + 2RC
//   M             4E + 4GN + H
//
// A recomputed layer keeps its input only; while its backward pass runs, it holds both.
//
// With sequence parallelism over t ranks, norms and the residual stream are those of 1/t of the
// tokens, and every mixer adds its input of all tokens and a part of its output.
//
// The model keeps the stream, the final states and their gradients, 4D, the teacher's, 2D, and 16
// bytes of batch per token. A chunk of c tokens has c V logits, twice with a teacher; they are not
// there at the same time as a layer's backward pass. Where a sample trains several budgets, the
// teacher's logits of all tokens, V, are kept instead of its states and of its part of a chunk.
//
// The slice and evaluate phases cut out the parent's widths once more, 4P, when the working
// memory of the steps has been given back. Evaluation compares the copy's logits on one
// sequence with those of the uncut model: two times 2D + 1 per token, and one layer's
// forward or two chunks of logits.
//
// A stored teacher of k words says (6k + 2) bytes per token: of all samples of a step on the host,
// of a micro-batch where it is computed; a chunk then holds (k + 5) c sums and no logits of a
// teacher. The phase teach holds the parent's pass, these bytes, and a chunk of logits of all
// words.
//
// The rank phase holds, per token of a micro-batch of calibration sequences, the parent's stream
// and final states, 2D + 1, the current stream, D, the final states of the candidates held at once,
// c D, and on top a candidate's stream, D, with one layer's forward, or two chunks of logits.
#pragma once
#include <algorithm>

#include "config/curriculum.hpp"

namespace elastic {

/// What one rank holds, in bytes.
struct PlanMemory {
  double weights = 0, gradients = 0, moments = 0;  ///< of the model
  double masters = 0;                              ///< of bfloat16 weights
  double teacher = 0;                              ///< frozen parent
  double router = 0;                               ///< values, gradients and moments
  double sums = 0;          ///< of gradients, on their way to other ranks or in fixed point
  double snapshot = 0;      ///< on the host: the copy of a rank's share of a file
  double save_buffers = 0;  ///< on the host: messages of a save, and what is read back
  double stored = 0;        ///< on the host: what a stored teacher says of the samples of a step
  double kept = 0;          ///< activations from forward to backward, of the largest stage
  double backward = 0;      ///< most that one layer's backward pass adds
  double logits = 0;        ///< of a chunk
  double copy = 0;          ///< the model cut out at full widths, phases slice and evaluate
  double evaluation = 0;    ///< working memory of the evaluate phase
  double ranking = 0;       ///< working memory of the rank phase
  double teaching = 0;      ///< working memory of the phase teach
  std::string stage;        ///< the largest one
  double state() const { return weights + gradients + moments + masters + teacher + router + sums; }
  double step() const { return kept + std::max(backward, logits); }
  /// What is there whatever the run is doing.
  double besides() const { return state() + snapshot + save_buffers; }
  double total() const {
    return besides() + std::max({step() + stored, copy + evaluation, ranking, teaching});
  }
};

/// Working memory of a stage's steps, layer by layer, in bytes.
struct StepMemory {
  struct Layer {
    double forward;        ///< kept from forward to backward pass
    double backward;       ///< added by the backward pass
    double forward_again;  ///< added on top where the forward pass is repeated
  };
  PlanMemory ends;  ///< kept and logits, without layers
  std::vector<Layer> layers;
  /// Kept, backward and logits where these layers are recomputed.
  PlanMemory with(const std::vector<bool>& recomputed) const;
};
/// `local`: the part of the parent that a rank holds.
StepMemory step_memory(const RunConfig& config, const ModelShape& local, const Stage& stage);

/// Plans the rank that holds most.
/// `router_parameters`: 0 without elastic stages; `ranks`: of the run.
PlanMemory plan_memory(const RunConfig& config, const ModelShape& parent, index_t router_parameters,
                       int ranks = 1);

/// The part of a model that the first rank of a tensor-parallel group holds, the largest one.
/// It is a model of the same kind.
ModelShape local_part(ModelShape shape, index_t tensor_ranks);
/// How many of the ranks of a run hold the same parameters: the owners of optimizer state.
int owners_of(const RunConfig& config, int ranks);

/// Samples of the largest micro-batch of a stage in fast mode, in its first steps: few samples of a
/// budget may not fill one.
index_t largest_micro_batch(const RunConfig& config, const Stage& stage);
/// Number of tensors of a model of this shape.
index_t num_tensors(const ModelShape& shape);
/// Bytes of a file of write_model (state/state_checkpoint.hpp) for a model of this shape and a deck
/// of this many characters: those of P values, and what the file format adds per tensor.
double model_file_bytes(const ModelShape& shape, std::size_t deck_characters, double value_bytes);
/// Bytes of a training checkpoint: values (masters) and two moments of model (`moments`)
/// and router, the ranking.
double training_file_bytes(const ModelShape& shape, std::size_t deck_characters,
                           index_t router_parameters, index_t router_tensors, bool moments = true);

}  // namespace elastic
