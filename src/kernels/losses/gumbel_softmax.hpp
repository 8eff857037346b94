// SPDX-License-Identifier: Apache-2.0
// Gumbel-Softmax of rows of router logits (Jang et al. 2016;
// router of Nemotron Elastic, arXiv 2511.16664).
//
//   g_i   = -log(-log U_i)
//   pi_i  = softmax_i( (s z_i + g_i) / tau )
//   dz_i += (s/tau) pi_i (v_i - sum_j v_j pi_j),   v = dL/dpi
//
// A straight-through draw (hard) replaces pi by the one-hot of its maximum in the forward pass
// and keeps the gradient of the soft pi.
#pragma once
#include "base/random.hpp"

namespace elastic::kernels {

struct GumbelSoftmaxParams {
  double logit_scale = 1;  ///< s
  double tau = 1;          ///< temperature
  bool noise = true;       ///< without: pi = softmax(s z / tau)
  RandomKey key{};         ///< of the noise; element (row, i) draws index row * choices + i
};

/// [in] z [rows, choices]; [out] pi [rows, choices].
template <class T>
void gumbel_softmax_forward(const ExecutionSpace& exec, In2<T> z, const GumbelSoftmaxParams& params,
                            InOut2<T> pi);
/// [in] dpi, pi [rows, choices] (the soft pi)
/// [in, out] dz [rows, choices] +=
template <class T>
void gumbel_softmax_backward(const ExecutionSpace& exec, In2<T> dpi, In2<T> pi,
                             const GumbelSoftmaxParams& params, InOut2<T> dz);

}  // namespace elastic::kernels
