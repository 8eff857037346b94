// SPDX-License-Identifier: Apache-2.0
// Clipping by the joint norm of all gradients gives the scale that AdamW::step applies.
// The gradients themselves are not touched.
//
//   auto counted = counted_gradients(model, optimizer.owned(), tensor.rank() == 0);
//   if (world.is_root()) counted.push_back(router.gradients());
//   const auto clip = clip_gradients<T>(exec, world, counted, 1.0, 1 / tokens, workspace);
//   if (!clip.finite()) ...;
#pragma once
#include <cmath>
#include <vector>

#include "base/parameter.hpp"
#include "comm/communicator.hpp"

namespace elastic {

struct GradientClip {
  double norm = 0;   ///< of factor * gradients, before clipping
  double scale = 1;  ///< multiplies the gradients; includes factor. Meaningless unless finite()
  /// False if any gradient is NaN or infinite: the caller skips the step or stops.
  bool finite() const { return std::isfinite(norm); }
};

/// norm = |factor| sqrt(squares), and the scale as in clip_gradients, from a sum
/// of squares that the caller formed.
GradientClip clip_by_norm(double squares, double max_norm, double factor = 1);

/// Norm and scale (PyTorch's clip_grad_norm_) of this rank's buffers:
///
///   norm  = sqrt(sum over buffers and elements (factor g)^2)
///   scale = factor * min(1, max_norm / (norm + 1e-6))
///
/// max_norm = 0 does not clip. `factor` turns sums into means (1 / tokens). Waits for exec.
/// Allocates where it gets no workspace of clip_workspace(gradients) numbers.
template <class T>
GradientClip clip_gradients(const ExecutionSpace& exec,
                            const std::vector<View1<const T>>& gradients, double max_norm,
                            double factor = 1, const View1<double>& workspace = {});
template <class T>
index_t clip_workspace(const std::vector<View1<const T>>& gradients);

/// Norm and scale over all ranks of `comm`. Collective: each rank passes the elements
/// that nobody else passes. On a deterministic communicator squares are added as integers
/// (kernels::FixedSquares), and the result has the same bits however the elements are spread over
/// ranks and buffers; there may be 2^35 of them at most.
template <class T>
GradientClip clip_gradients(const ExecutionSpace& exec, const Communicator& comm,
                            const std::vector<View1<const T>>& gradients, double max_norm,
                            double factor = 1, const View1<double>& workspace = {});

/// The gradients in `owned` (ranges of the flat buffer, rising) that this rank adds to the joint
/// norm: all of the tensors that are sharded over tensor-parallel ranks; the tensors that each
/// of these ranks holds only if `count_unsharded`, which must be true on one of them.
template <class T>
std::vector<View1<const Accumulate<T>>> counted_gradients(const ParameterStore<T>& parameters,
                                                          const std::vector<Range>& owned,
                                                          bool count_unsharded);

}  // namespace elastic
