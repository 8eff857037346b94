// SPDX-License-Identifier: Apache-2.0
// Bytes per rank of a training step, and bytes of the files, from the shape alone.
//
// fp32 everywhere; P parameters of the model that this rank of T tensor-parallel ones holds, P_r of
// the router, R replicas:
//   weights 4P, gradients 4P, moments 8P/R (none if no stage changes the model), teacher 4P,
//   router 8 P_r + 8 P_r/R
//   sums of gradients: buckets that travel (R > 1), and in deterministic mode 8P in fixed point
// Widths below are those of this rank. With sequence parallelism, norms and the residual stream are
// those of 1/T of the tokens, and every mixer adds its input of all tokens and a part of its output.
// Working memory of a step on T = B*L tokens at full widths (where the router starts), elements
// per token kept by one layer from forward to backward, besides its input, D:
//   2D + 1 + { -: 2F   *: (2 or, with a mask, 3) A*C + 2RC + A
//              M: 5E + 4GN + 3H + G + E N ceil(L/Q)/L }
// and for its own backward pass:
//   2D + { -: F   *: 2AC + 2RC   M: 5E + 4GN + H } + workspaces of the kernels
// With recompute, only inputs are kept and one layer at a time holds both. Model: stream, final
// states and their gradients 4D, teacher 2D, batch 16 bytes per token. Logits of a chunk of c
// tokens: c V, twice with a teacher; they are not there at the same time as a layer's backward.
// The slice and evaluate phases cut out the parent's widths once more, 4P, when the working memory
// of the steps has been given back. Evaluation compares the copy's logits on one sequence with the
// uncut model's: two times 2D + 1 per token, and one layer's forward or two chunks of logits.
#pragma once
#include <algorithm>

#include "config/run_config.hpp"

namespace elastic {

/// Bytes of one rank.
struct PlanMemory {
  double weights = 0, gradients = 0, moments = 0;  ///< of the model
  double teacher = 0;                              ///< frozen parent
  double router = 0;                               ///< values, gradients and moments
  double sums = 0;        ///< of gradients, on their way to other ranks or in fixed point
  double kept = 0;        ///< activations from forward to backward, of the largest stage
  double backward = 0;    ///< most that one layer's backward pass adds
  double logits = 0;      ///< of a chunk
  double copy = 0;        ///< the model cut out at full widths, phases slice and evaluate
  double evaluation = 0;  ///< working memory of the evaluate phase
  std::string stage;      ///< the largest one
  double state() const { return weights + gradients + moments + teacher + router + sums; }
  double step() const { return kept + std::max(backward, logits); }
  double total() const { return state() + std::max(step(), copy + evaluation); }
};

/// Of the rank that holds most. `router_parameters`: 0 without elastic stages; `ranks`: of the run.
PlanMemory plan_memory(const RunConfig& config, const ModelShape& parent, index_t router_parameters,
                       int ranks = 1);

/// The part of a model that the first rank of a tensor-parallel group holds, the largest one: a
/// model of the same kind.
ModelShape local_part(ModelShape shape, index_t tensor_ranks);
/// Copies of the model among the ranks of a run.
int replicas_of(const RunConfig& config, int ranks);

/// Number of tensors of a model of this shape.
index_t num_tensors(const ModelShape& shape);
/// Bytes of a file of write_model (state_checkpoint.hpp) for a model of this shape and a deck of
/// this many characters: 4P, and what the file format adds per tensor.
double model_file_bytes(const ModelShape& shape, std::size_t deck_characters);
/// Bytes of a training checkpoint: values and two moments of model (`moments`) and router, the
/// ranking.
double training_file_bytes(const ModelShape& shape, std::size_t deck_characters,
                           index_t router_parameters, index_t router_tensors, bool moments = true);

}  // namespace elastic
