// SPDX-License-Identifier: Apache-2.0
// Work of one rank in forward and backward passes, per token, by kind of kernel.
//
// Operations (2 per multiply-add) per token of a layer, as the kernels count them; Q' = min(Q, L):
//            products                  attention        scan
//   M fwd    2D(3E + 2GN + H)                           4EN + (Q'+1)(GN + E)
//     bwd    twice                                      8EN + (Q'+1)(3GN + 2E)
//   * fwd    2D(2AC + 2RC)             2AC(L+1)
//     bwd    twice                     5AC(L+1)
//   - fwd    4DF;  bwd twice
// Logits 2VD; their backward pass 4VD.
// Elements that the other kernels read and write per token; s: the part of the tokens whose
// residual stream this rank keeps (1/ranks with sequence parallelism); X = E + 2GN:
//   stream of a layer   5sD (norm 2, addition 3) and 2sD to keep its input; backward 6sD
//                       (addition 2, norm 4) and with soft masks 4sD more (gradients of mask and
//                       gate)
//   M       2X + 3E (convolution, gated norm); backward 3X + 5E
//   *       with soft masks 2AC; backward 3AC
//   -       2F; backward 3F
//   model   2D + 2sD (embedding, final norm); backward 3D + 5sD
//   losses  cross-entropy 2V, KL 3V
#pragma once
#include "arch/model_shape.hpp"

namespace elastic {

struct Work {
  double products = 0, attention = 0, scan = 0;  ///< operations
  double bytes = 0;                              ///< read and written by all other kernels
  double flops() const { return products + attention + scan; }
  Work& operator+=(const Work& other);
  friend Work operator+(Work a, const Work& b) { return a += b; }
  friend Work operator*(double factor, const Work& w) {
    return {factor * w.products, factor * w.attention, factor * w.scan, factor * w.bytes};
  }
};

struct PassOptions {
  index_t seq_length = 1;
  double stream_share = 1;   ///< s
  bool keeps_input = false;  ///< a backward pass follows
  bool soft_masks = false;
};

/// Embedding, layers and final norm of the part of a model that a rank holds.
Work forward_work(const ModelShape& local, const PassOptions& options);
/// Layers alone: what recomputation repeats.
Work stack_work(const ModelShape& local, const PassOptions& options);
Work backward_work(const ModelShape& local, const PassOptions& options);
/// Logits without gradient.
Work logits_work(const ModelShape& local);
/// Logits, loss and their backward pass; `teacher`: the loss is the KL from its logits.
Work loss_work(const ModelShape& local, const ModelShape* teacher);

}  // namespace elastic
