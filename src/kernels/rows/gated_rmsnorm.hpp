// SPDX-License-Identifier: Apache-2.0
// Gated group RMSNorm of the Mamba-2 mixer (norm_before_gate=False): gate first, norm after, inside
// each of the G groups of channels.
//
//   g_e     = y_e silu(m_e z_e)
//   r_group = 1 / sqrt( sum_{e in group} g_e^2 / mean_width + epsilon )
//   out_e   = scale * r_group g_e w_e
//
// Channel e = h * P + p belongs to group h % G (heads are stored interleaved across groups).
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

template <class T>
struct GatedRmsNormInputs {
  View2<const T> y, z;                   ///< [T, E]
  View1<const T> weight;                 ///< [E]
  View1<const Accumulate<T>> mask = {};  ///< [E] or empty
};
template <class T>
struct GatedRmsNormGradients {
  View2<T> dy, dz;                   ///< [T, E]; overwritten
  View1<Accumulate<T>> dweight;      ///< [E] or empty; accumulated
  View1<Accumulate<T>> dmask = {};   ///< [E] or empty; accumulated
  View1<Accumulate<T>> dscale = {};  ///< [G] or empty, the part of each group; accumulated
};

/// [out] out [T, E], rstd [T, G] (r_group, saved for backward)
template <class T>
void gated_rmsnorm_forward(const ExecutionSpace& exec, const GatedRmsNormInputs<T>& in,
                           const GatedRmsNormParams& params, InOut2<T> out,
                           InOut2<Accumulate<T>> rstd);
/// [in] dout [T, E] and all of the forward; workspace as for rmsnorm_backward,
///      of gated_rmsnorm_workspace_size(T, E, G) elements
template <class T>
void gated_rmsnorm_backward(const ExecutionSpace& exec, const GatedRmsNormInputs<T>& in,
                            const GatedRmsNormParams& params, In2<Accumulate<T>> rstd, In2<T> dout,
                            const GatedRmsNormGradients<T>& gradients,
                            InOut1<Accumulate<T>> workspace);
index_t gated_rmsnorm_workspace_size(index_t tokens, index_t width, index_t groups);

}  // namespace elastic::kernels
