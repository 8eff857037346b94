// SPDX-License-Identifier: Apache-2.0
// Gated group RMSNorm of the Mamba-2 mixer (norm_before_gate=False): gate first, norm after, inside
// each of the G groups of channels.
//
//   g_e     = y_e silu(m_e z_e)
//   r_group = 1 / sqrt( sum_{e in group} g_e^2 / mean_width + epsilon )
//   out_e   = scale * r_group g_e w_e
//
// Channel e = h * P + p belongs to group h % G (heads are stored rank-major across groups).
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Extents and constants of one call; mean_width, epsilon and scale as in kernels/rows/rmsnorm.hpp.
struct GatedRmsNormParams {
  index_t head_dim = 0;    ///< P
  index_t num_groups = 1;  ///< G, divides E / P
  double epsilon = 1e-5;
  double mean_width = 0;  ///< divisor of a group's sum of squares, E/G for a plain norm
  double scale = 1;
};

/// [in] y [T, E], z [T, E], weight [E], mask [E] or empty
/// [out] out [T, E], rstd [T, G]
template <class T>
void gated_rmsnorm_forward(const ExecutionSpace& exec, In2<T> y, In2<T> z, In1<T> weight,
                           In1<T> mask, const GatedRmsNormParams& params, InOut2<T> out,
                           InOut2<T> rstd);
/// [in] dout [T, E] and all of the forward; workspace as for rmsnorm_backward,
///      of gated_rmsnorm_workspace_size(T, E, G) elements
/// [out] dy, dz [T, E]
/// [in, out] dweight [E] +=, dmask [E] +=, dscale [G] += (the part of each group);
///           each may be empty
template <class T>
void gated_rmsnorm_backward(const ExecutionSpace& exec, In2<T> dout, In2<T> y, In2<T> z,
                            In1<T> weight, In1<T> mask, In2<T> rstd,
                            const GatedRmsNormParams& params, InOut2<T> dy, InOut2<T> dz,
                            InOut1<T> dweight, InOut1<T> dmask, InOut1<T> dscale,
                            InOut1<T> workspace);
index_t gated_rmsnorm_workspace_size(index_t tokens, index_t width, index_t groups);

}  // namespace elastic::kernels
