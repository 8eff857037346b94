// SPDX-License-Identifier: Apache-2.0
// RMSNorm of the residual stream, elastic in its width.
//
//   y_j = scale * r * m_j x_j w_j,    r = 1 / sqrt( sum_j (m_j x_j)^2 / mean_width + epsilon )
//
// Plain norm and prefix of D channels: no mask, mean_width = D, scale = 1. Norm of a small model of width D_i computed in
// the full width by a 0/1 mask: mean_width = D, epsilon * D_i/D, scale = sqrt(D_i/D); soft masks mix these (paper.md 2.4).
// Zhang and Sennrich 2019, eq. 4; norm correction of Megatron-LM megatron/elastification.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

struct RmsNormParams {
  double epsilon = 1e-5;  ///< added to the mean square
  double mean_width = 0;  ///< divisor of the sum of squares, > 0
  double scale = 1;       ///< factor on the result
};

/// [in] x [T, D], weight [D], mask [D] or empty; [out] y [T, D], rstd [T] (r, saved for backward).
template <class T>
void rmsnorm_forward(const ExecutionSpace& exec, In2<T> x, In1<T> weight, In1<T> mask,
                     const RmsNormParams& params, InOut2<T> y, InOut1<T> rstd);
/// dx ACCUMULATES (it is the gradient of the residual stream). [in] dy [T, D], x, weight, mask, rstd;
/// [in, out] dx [T, D] +=, dweight [D] += or empty, dmask [D] += or empty, dscale [1] += or empty.
/// `workspace` [at least rmsnorm_workspace_size(T, D)] holds partial sums over blocks of tokens.
template <class T>
void rmsnorm_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<T> weight, In1<T> mask,
                      In1<T> rstd, const RmsNormParams& params, InOut2<T> dx, InOut1<T> dweight,
                      InOut1<T> dmask, InOut1<T> dscale, InOut1<T> workspace);
index_t rmsnorm_workspace_size(index_t tokens, index_t width);

}  // namespace elastic::kernels
