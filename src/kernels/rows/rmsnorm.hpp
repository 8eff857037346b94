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

/// [in] x [T, D], weight [D], mask [D] or empty
/// [out] y [T, D], rstd [T] (r, saved for backward)
template <class T>
void rmsnorm_forward(const ExecutionSpace& exec, In2<T> x, In1<T> weight, In1<T> mask,
                     const RmsNormParams& params, InOut2<T> y, InOut1<T> rstd);
/// dx accumulates: it is the gradient of the residual stream.
/// [in] dy [T, D], x, weight, mask, rstd; `workspace` of at least rmsnorm_workspace_size(T, D)
///      elements for partial sums over blocks of tokens
/// [in, out] dx [T, D] +=, dweight [D] +=, dmask [D] +=, dscale [1] +=; all but dx may be empty
template <class T>
void rmsnorm_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<T> weight, In1<T> mask,
                      In1<T> rstd, const RmsNormParams& params, InOut2<T> dx, InOut1<T> dweight,
                      InOut1<T> dmask, InOut1<T> dscale, InOut1<T> workspace);
index_t rmsnorm_workspace_size(index_t tokens, index_t width);

}  // namespace elastic::kernels
