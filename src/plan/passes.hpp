// SPDX-License-Identifier: Apache-2.0
// Work of one rank in forward and backward passes, per token, by kind of kernel.
//
// Operations (2 per multiply-add) per token, as the kernels count them: of a mixer, what the
// description of its kind says (arch/layer_kind.hpp); of the logits 2VD, and backward 4VD.
//
// Elements that the other kernels read and write per token; s: the part of the tokens whose
// residual stream this rank keeps (1/ranks with sequence parallelism):
//
//                 forward                        backward
//   stream of     5sD  norm 2, addition 3        6sD  addition 2, norm 4
//   a layer       2sD  keeping its input         4sD  gradients of mask and gate (soft masks)
//   a mixer       as described                   as described
//   model         2D + 2sD  embedding, norm      3D + 5sD
//   loss          cross-entropy 2V, KL 3V (forward and backward together)
#pragma once
#include "arch/model_shape.hpp"

namespace elastic {

/// Work by kind of kernel.
struct Work {
  double products = 0, attention = 0, scan = 0;  ///< operations
  double elements = 0;                           ///< read and written by all other kernels
  double flops() const { return products + attention + scan; }
  Work& operator+=(const Work& other);
  friend Work operator+(Work a, const Work& b) { return a += b; }
  friend Work operator*(double factor, const Work& w) {
    return {factor * w.products, factor * w.attention, factor * w.scan, factor * w.elements};
  }
};

/// What a pass depends on besides the shape.
struct PassOptions {
  index_t seq_length = 1;
  double stream_share = 1;   ///< s
  bool keeps_input = false;  ///< a backward pass follows
  bool soft_masks = false;
};

/// Work of embedding, layers and final norm of the part of a model that a rank holds.
Work forward_work(const ModelShape& local, const PassOptions& options);
/// Work of the layers alone: what recomputation repeats.
Work stack_work(const ModelShape& local, const PassOptions& options);
/// Work of the backward pass of what forward_work counts; recomputation not included.
Work backward_work(const ModelShape& local, const PassOptions& options);
/// Work of logits without gradient.
Work logits_work(const ModelShape& local);
/// Work of logits, loss and their backward pass; `distills`: the KL from logits of a teacher, which
/// are there.
Work loss_work(const ModelShape& local, bool distills);

}  // namespace elastic
