// SPDX-License-Identifier: Apache-2.0
// RMSNorm of the residual stream (Zhang and Sennrich 2019, equation 4), elastic in its width.
//
//   y_j = scale * r * m_j x_j w_j,    r = 1 / sqrt( sum_j (m_j x_j)^2 / mean_width + epsilon )
//
// A 0/1 mask can compute the norm of a small model of width D_i in the full width D (norm
// correction of Megatron-LM, megatron/elastification). Soft masks mix these
// (doc/equations/soft_masks.md).
//
//                                mask  mean_width  epsilon           scale
//   plain norm, prefix of D      none  D           epsilon           1
//   small model in the full D    0/1   D           epsilon * D_i/D   sqrt(D_i/D)
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

struct RmsNormParams {
  double epsilon = 1e-5;  ///< added to the mean square
  double mean_width = 0;  ///< divisor of the sum of squares, > 0
  double scale = 1;       ///< factor on the result
};

template <class T>
struct RmsNormInputs {
  View2<const T> x;                      ///< [T, D]
  View1<const T> weight;                 ///< [D]
  View1<const Accumulate<T>> mask = {};  ///< [D] or empty
};
template <class T>
struct RmsNormGradients {
  View2<T> dx;                       ///< [T, D]; accumulated: it is that of the residual stream
  View1<Accumulate<T>> dweight;      ///< [D] or empty; accumulated
  View1<Accumulate<T>> dmask = {};   ///< [D] or empty; accumulated
  View1<Accumulate<T>> dscale = {};  ///< [1] or empty; accumulated
};

/// [out] y [T, D], rstd [T] (r, saved for backward)
template <class T>
void rmsnorm_forward(const ExecutionSpace& exec, const RmsNormInputs<T>& in,
                     const RmsNormParams& params, InOut2<T> y, InOut1<Accumulate<T>> rstd);
/// [in] dy [T, D] and all of the forward; `workspace` of at least rmsnorm_workspace_size(T, D)
///      elements for partial sums over blocks of tokens
template <class T>
void rmsnorm_backward(const ExecutionSpace& exec, const RmsNormInputs<T>& in,
                      const RmsNormParams& params, In1<Accumulate<T>> rstd, In2<T> dy,
                      const RmsNormGradients<T>& gradients, InOut1<Accumulate<T>> workspace);
index_t rmsnorm_workspace_size(index_t tokens, index_t width);

}  // namespace elastic::kernels
