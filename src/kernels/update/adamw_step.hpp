// SPDX-License-Identifier: Apache-2.0
// One AdamW update of a flat parameter buffer (Loshchilov and Hutter 2019, algorithm 2;
// bias correction as in PyTorch).
//
//   g = grad_scale * gradient;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
//   w -= lr ( m/(1-b1^t) / (sqrt(v/(1-b2^t)) + epsilon) + weight_decay w )
//
// Values narrower than Accumulate<T> have masters w in Accumulate<T>: an update below half a unit
// in the last place of a value would be rounded away, in a master it adds up.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

struct AdamWParams {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8, weight_decay = 0;
  index_t step = 1;       ///< t, counts from 1
  double grad_scale = 1;  ///< clipping and normalisation
};

/// T = float or double.
/// [in] gradient [n]
/// [in, out] weight, m, v [n]
template <class T>
void adamw_step(const ExecutionSpace& exec, In1<T> gradient, const AdamWParams& params,
                InOut1<T> weight, InOut1<T> m, InOut1<T> v);

/// As above for the masters of values T = bfloat16, which are rounded once into `value`
/// in the same pass. The masters have the bits that weights in Accumulate<T> would have.
/// [in] gradient [n]
/// [in, out] master, m, v [n]
/// [out] value [n]
template <class T>
void adamw_step_rounded(const ExecutionSpace& exec, In1<Accumulate<T>> gradient,
                        const AdamWParams& params, InOut1<Accumulate<T>> master,
                        InOut1<Accumulate<T>> m, InOut1<Accumulate<T>> v, InOut1<T> value);

}  // namespace elastic::kernels
