// SPDX-License-Identifier: Apache-2.0
// The factor of a norm, in double and rounded once. A masked norm in the full width and the norm
// of the small model then round alike, although one divides by D and scales by sqrt(D_i/D) and the
// other divides by D_i. Internal to kernels/rows/rmsnorm.cpp and kernels/rows/gated_rmsnorm.cpp.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

struct NormFactor {
  double epsilon, inverse_width, scale;

  /// r = 1 / sqrt( squares / mean_width + epsilon ); the norm multiplies by scale * r.
  KOKKOS_INLINE_FUNCTION double rstd(double squares) const {
    return 1.0 / math::sqrt(squares * inverse_width + epsilon);
  }
};
template <class Params>
NormFactor norm_factor(const Params& params) {
  return {params.epsilon, 1 / params.mean_width, params.scale};
}

}  // namespace elastic::kernels
